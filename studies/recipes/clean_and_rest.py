"""Train on trusted rows for some epochs, then on all rows, then on trusted rows again."""

from pathlib import Path
from typing import Any

import torch

from samplewise.subset import Subset


class CleanAndRest:
    """Plans of three phases. It learns nothing from the training, so its state is empty."""

    level = "epoch"
    source = "none"

    def __init__(self, subset: Path, before: int, rest: int, after: int) -> None:
        self.clean = Subset.read(subset)
        self.phases = before, rest, after

    def start(self, n: int, epochs: int, seed: int, labels: Any) -> None:
        """Check the length of the training."""
        if sum(self.phases) != epochs:
            raise ValueError(f"before + rest + after must be the epochs of the run, {epochs}.")
        self.n = n

    def plan(self, epoch: int) -> Subset:
        """All rows in the middle phase, else the trusted ones."""
        before, rest, _ = self.phases
        return Subset(torch.arange(self.n)) if before <= epoch < before + rest else self.clean

    def observe(self, ids: Any, outputs: Any, source: str) -> None:
        """Nothing to remember."""

    def choose(self, ids: Any) -> Any:
        """Never called: the level is "epoch"."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: Any) -> None:
        """Nothing to restore."""


def clean_and_rest(subset: str, before: int = 0, rest: int = 1, after: int = 0) -> CleanAndRest:
    """`before` epochs on the ids of the file `subset`, then `rest` epochs on all, then `after` on the ids."""
    return CleanAndRest(Path(subset), before, rest, after)
