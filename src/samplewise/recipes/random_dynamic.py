"""A new random subset in every period (arXiv:2111.12621, the random control)."""

from typing import Annotated

from samplewise import pickers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe

__all__ = ["random_dynamic"]


@recipe(paper="arXiv:2111.12621", level="epoch", source="none")
def random_dynamic(keep: Keep = 0.5, period: Annotated[int, Range(1)] = 10) -> Policy:
    """Train on a uniform `keep` share, drawn again every `period` epochs.

    Signal: none. Memory: 0 bytes a sample. Choice: uniform without replacement.
    Cost: no forward beyond training.
    """
    return Policy(picker=pickers.Uniform(keep), every=period)
