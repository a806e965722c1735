"""`TensorBoardLogger`: scalars for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samplewise.checks import require

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger:
    """Writes scalars `samplewise/NAME` with the epoch as step, by `torch.utils.tensorboard`.

    After a resume TensorBoard leaves out what an earlier run wrote for the same epochs (`purge_step`).

    Args:
        folder: of the events. `tensorboard --logdir FOLDER` shows them.

    Raises:
        ImportError: if tensorboard is not installed (extra `tensorboard`).
    """

    def __init__(self, folder: str | Path) -> None:
        require("tensorboard", "tensorboard")
        self.folder = Path(folder)
        self._writer: Any = None

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the scalars of an epoch."""
        if self._writer is None:
            made = require("torch.utils.tensorboard", "tensorboard")
            self._writer = made.SummaryWriter(str(self.folder), purge_step=epoch)
        for name, value in values.items():
            self._writer.add_scalar(f"samplewise/{name}", value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the file of events."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
