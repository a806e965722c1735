"""What a source of `--data` has: its splits by name, whose labels and images are read when asked for."""

from collections.abc import Callable
from dataclasses import dataclass

from samplewise.bench.labels import Labels
from samplewise.bench.pixels import Pixels

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "validation", "valid", "val", "dev"),
}
"""How splits are called, the best first: public sets often have no labels in `test`."""


@dataclass(frozen=True)
class Split:
    """One split; nothing of it is read yet. `labels` gives None where the source has none."""

    name: str
    labels: Callable[[], Labels | None]
    images: Callable[[int | None], Pixels]


Found = dict[str, list[Split]]
