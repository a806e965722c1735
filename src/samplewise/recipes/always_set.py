"""Given samples, and random others in every period: controls of dynamic methods (arXiv:2111.12621)."""

from pathlib import Path
from typing import Annotated, Any

import torch

from samplewise import pickers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.recipes.fixed import given_subset
from samplewise.subset import Subset

__all__ = ["always_set"]


def _toy(n: int) -> Any:
    return always_set(Subset(torch.arange(0, n, 5), provenance={"n": n}), keep=0.8, period=3)


@recipe(paper="arXiv:2111.12621", level="epoch", source="none", toy=_toy)
def always_set(
    subset: Subset | str | Path, keep: Keep = 0.3, period: Annotated[int, Range(1)] = 10
) -> Policy:
    """Train on the given samples in every epoch, and on random others, drawn again every `period` epochs.

    `keep` is the share of both together. The paper has two such controls for its dynamic methods. In one, the
    samples that a dynamic run selected at nearly every checkpoint are given (15 % of the data), and the rest
    of 30 % is drawn. The other is EL2N with epsilon-greedy: give `table.subset("el2n", keep=(1 - eps) *
    keep)`, and the share `eps` of `keep` is drawn from all other samples.

    The data set must be the one that the subset was chosen from. The cost of choosing it is charged to the
    ledger, as for `fixed`.

    Signal: none. Memory: 0 bytes a sample. Choice: as given, and uniform without replacement.
    Cost: no forward beyond training.
    """
    return Policy(picker=pickers.Always(given_subset("always_set", subset), keep), every=period)
