"""Cross-architecture transfer: one subset, scored with one model, trains others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from samplewise.bench.models import ARCHITECTURES, builder
from samplewise.coresets.table import Subset


def transfer(
    subset: Subset,
    train: Callable[[str, Subset], Mapping[str, Any]],
    train_with: Sequence[str] = ARCHITECTURES,
) -> Iterator[dict[str, Any]]:
    """Train each model of `train_with` on `subset`; yields each row as soon as its training is over.

    `train(model, subset)` does one training and returns its results. A row is those, with
    `scored_with`, the model in the subset's provenance (None if it names none), and `trained_with`.
    A name that no model has, or that comes twice, is refused before the first training.
    """
    for name in train_with:
        builder(name)
        if train_with.count(name) > 1:
            raise ValueError(f"transfer.train_with must name each model once, got {name!r} twice.")
    names = {"scored_with": subset.provenance.get("model")}
    return (names | {"trained_with": name} | dict(train(name, subset)) for name in train_with)
