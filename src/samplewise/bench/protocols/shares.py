"""Random parts of a data set: class imbalance, or fewer samples of every class."""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.checks import Range, check_arguments
from samplewise.data.ids import in_classes
from samplewise.pickers.ranking import budget, uniform

_SHARE = Range(0, 1, open_low=True)

IMBALANCED = (0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0, 1.0)
"""The share of each class of CIFAR-10: 32,500 of its 50,000 images."""


def imbalanced(
    labels: Int[Tensor, " n"], rng: torch.Generator, shares: Sequence[float] = IMBALANCED
) -> Int[Tensor, " k"]:
    """Draw the share `shares[y]` of each class y at random. Return the ids in ascending order.

    The number of dropped samples of a class is rounded down.

    The default shares are those of dynamic data pruning under uncertainty (arXiv:2111.12621).

    >>> len(imbalanced(torch.arange(50_000) % 10, torch.Generator()))
    32500
    """
    outside = [share for share in shares if share not in _SHARE]
    if outside:
        raise ValueError(f"imbalanced.shares must be {_SHARE}, got {outside[0]!r}.")
    if not in_classes(labels, len(shares)):
        raise ValueError(
            f"imbalanced.labels must be in [0, {len(shares)}), because shares has {len(shares)} entries, "
            f"got {int(labels.min())} to {int(labels.max())}."
        )
    counts = torch.bincount(labels, minlength=len(shares)).tolist()
    return _of_each_class(labels, [budget(m, share) for m, share in zip(counts, shares, strict=True)], rng)


def downsampled(
    labels: Int[Tensor, " n"], rng: torch.Generator, per_class: Annotated[int, Range(1)] = 1000
) -> Int[Tensor, " k"]:
    """Draw `per_class` samples of every class at random. Return the ids in ascending order.

    >>> len(downsampled(torch.arange(50_000) % 10, torch.Generator()))
    10000
    """
    check_arguments("downsampled", downsampled, locals())
    counts = torch.bincount(labels).tolist()
    short = {y: count for y, count in enumerate(counts) if 0 < count < per_class}
    if short:
        sizes = ", ".join(f"class {y} has {count}" for y, count in short.items())
        raise ValueError(
            f"downsampled.per_class must be at most the size of every class, got {per_class}: {sizes}."
        )
    return _of_each_class(labels, [min(count, per_class) for count in counts], rng)


def _of_each_class(labels: Tensor, budgets: list[int], rng: torch.Generator) -> Tensor:
    drawn = []
    for y, k in enumerate(budgets):
        members = (labels == y).nonzero().flatten()
        drawn.append(members[uniform(len(members), k, rng)])
    return torch.cat(drawn).sort().values if drawn else labels.new_empty(0)
