"""Cross-architecture transfer: other models train on a subset that was scored with one model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from samplewise.bench.models import ARCHITECTURES, builder
from samplewise.coresets.table import Subset


def transfer(
    subset: Subset,
    train: Callable[[str, Subset], Mapping[str, Any]],
    train_with: Sequence[str] = ARCHITECTURES,
) -> Iterator[dict[str, Any]]:
    """Train each model of `train_with` on `subset`. Yield a row after each training.

    `train(model, subset)` does one training and returns its results. A row holds these results,
    `scored_with` (the model in the subset's provenance, or None) and `trained_with`.

    Raises:
        ValueError: before the first training, if a name is not a model or is repeated.
    """
    for name in train_with:
        builder(name)
        if train_with.count(name) > 1:
            raise ValueError(f"transfer.train_with must name each model once, got {name!r} twice.")
    names = {"scored_with": subset.provenance.get("model")}
    return (names | {"trained_with": name} | dict(train(name, subset)) for name in train_with)
