"""`Split`: one split of a `--data` source. Its labels and images are read on demand."""

from collections.abc import Callable
from dataclasses import dataclass

from samplewise.bench.labels import Labels
from samplewise.bench.pixels import Pixels

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "validation", "valid", "val", "dev"),
}
"""Names of splits, the preferred one first. Public test splits often have no labels, so others follow."""


@dataclass(frozen=True)
class Split:
    """One split, not read yet. `labels()` returns None if the source has no labels."""

    name: str
    labels: Callable[[], Labels | None]
    images: Callable[[int | None], Pixels]


Found = dict[str, list[Split]]
