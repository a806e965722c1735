"""Train on a coreset that any method chose before."""

from pathlib import Path
from typing import Any

import torch

from samplewise.pickers import Given
from samplewise.policy import Policy, recipe
from samplewise.subset import Subset

__all__ = ["fixed", "given_subset"]


def _toy(n: int) -> Any:
    ids = torch.arange(0, n, 2)
    return fixed(Subset(ids, torch.linspace(0.5, 1.5, len(ids)), {"n": n}))


@recipe(paper="-", level="static", source="none", toy=_toy)
def fixed(subset: Subset | str | Path) -> Policy:
    """Train on a given `Subset`, or on the Parquet file of one, with its weights.

    This is the second run of the papers' protocol: score in one training, then train a fresh model on the
    coreset. The data set must be the one that the subset was chosen from. Its n, and the fingerprint where
    both are known, are compared. The cost of the scoring run is charged to the ledger.

    Signal: none. Memory: 0 bytes a sample. Choice: as given. Cost: no forward beyond training.
    """
    return Policy(picker=Given(given_subset("fixed", subset)), final=0)


def given_subset(owner: str, subset: Subset | str | Path, parameter: str = "subset") -> Subset:
    """The subset itself, or the one in the file. Errors name `owner`, the recipe, and its `parameter`."""
    if isinstance(subset, str | Path):
        subset = Subset.read(subset)
    if not isinstance(subset, Subset):
        raise ValueError(
            f"{owner}.{parameter} must be a Subset or a path to one, got a {type(subset).__name__}."
        )
    return subset
