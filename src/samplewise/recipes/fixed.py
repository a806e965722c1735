"""Training on a coreset that was chosen before, by any method."""

from pathlib import Path
from typing import Any

import torch

from samplewise.pickers import Given
from samplewise.policy import Policy, recipe
from samplewise.subset import Subset

__all__ = ["fixed"]


def _toy(n: int) -> Any:
    ids = torch.arange(0, n, 2)
    return fixed(Subset(ids, torch.linspace(0.5, 1.5, len(ids)), {"n": n}))


@recipe(paper="-", level="static", source="none", toy=_toy)
def fixed(subset: Subset | str | Path) -> Policy:
    """Train on a `Subset`, or on the one in a Parquet file, with its weights.

    The second run of the papers' protocol: score with one training, then train a fresh model on the
    coreset. The data set must be the one that the subset was chosen from: n and, where known, the
    fingerprint are compared. What the scoring run cost is charged to the ledger.

    Signal: none. Memory: 0 bytes a sample. Choice: as given. Cost: no forward beyond training.
    """
    if isinstance(subset, str | Path):
        subset = Subset.read(subset)
    if not isinstance(subset, Subset):
        raise ValueError(f"fixed.subset must be a Subset or the path of one, got a {type(subset).__name__}.")
    return Policy(picker=Given(subset), final=0)
