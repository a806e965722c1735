"""`Split`: one split of a `--data` source. Its labels and images are read on demand."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from samplewise.bench.labels import Labels
from samplewise.bench.pixels import Pixels

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "validation", "valid", "val", "dev"),
}
"""Names of splits, the preferred one first. Public test splits often have no labels, so others follow."""


@dataclass(frozen=True)
class Split:
    """One split, not read yet. `labels()` returns None if the source has no labels.

    `groups()` are those of the column that the user named. Without one it is None.
    """

    name: str
    labels: Callable[[], Labels | None]
    images: Callable[[int | None], Pixels]
    groups: Callable[[], np.ndarray] | None = None


Found = dict[str, list[Split]]
