"""`WandbLogger`: history of a run of Weights & Biases."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samplewise.checks import require
from samplewise.files.atomic import replacing

__all__ = ["WandbLogger"]


class WandbLogger:
    """Writes the history of a run of Weights & Biases, with the epoch as step. It works offline, too.

    A training that begins at epoch 0 gets a new run. One that begins later, after a resume, continues the run
    that the file `wandb-NAME.json` in the folder names, and leaves out epochs that the run has.

    Args:
        project: its name.
        name: of the run.
        folder: for the files of the run, and for `wandb-NAME.json`.
        options: further arguments of `wandb.init`, such as `mode="offline"`, `entity` or `config`.

    Raises:
        ImportError: if wandb is not installed (extra `wandb`).
    """

    def __init__(
        self,
        project: str = "samplewise",
        name: str = "samplewise",
        folder: str | Path = ".",
        **options: Any,
    ) -> None:
        require("wandb", "wandb")
        self.project, self.name, self.folder, self.options = project, name, Path(folder), options
        self._run: Any = None
        self._last = -1

    @property
    def state(self) -> Path:
        """The file that says which run it is, and its last epoch."""
        return self.folder / f"wandb-{self.name.replace('/', '_')}.json"

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the numbers of an epoch."""
        run = self._run = self._open(epoch) if self._run is None else self._run
        if epoch <= self._last:
            return
        run.log(dict(values) | {"epoch": epoch}, step=epoch)
        self._last = epoch
        with replacing(self.state) as file:
            file.write(json.dumps({"id": run.id, "epoch": epoch}).encode())

    def close(self) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish()
            self._run, self._last = None, -1

    def _open(self, epoch: int) -> Any:
        wandb = require("wandb", "wandb")
        self.folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(self.state.read_text()) if epoch and self.state.exists() else {}
        if known:
            self._last = int(known["epoch"])
        own = {"id": known["id"], "resume": "allow"} if known else {}
        return wandb.init(project=self.project, name=self.name, dir=str(self.folder), **(own | self.options))
