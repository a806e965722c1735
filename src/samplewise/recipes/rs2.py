"""RS2: random subsets without replacement from epoch to epoch (arXiv:2305.18424)."""

from samplewise import pickers
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe

__all__ = ["rs2"]


@recipe(paper="arXiv:2305.18424", level="epoch", source="none")
def rs2(keep: Keep = 0.5) -> Policy:
    """Train on a random `keep` share in every epoch. No sample is repeated before all were used.

    Signal: none. Memory: 0 bytes a sample. Choice: uniform among the samples that were selected least often.
    Cost: no forward beyond training.

    Compare every method with this control: it shows what a method gains beyond seeing other samples in every
    epoch. If `keep` does not divide the data set, an epoch takes what is left of a round and draws the rest
    from the next one.
    """
    return Policy(picker=pickers.LeastUsed(keep))
