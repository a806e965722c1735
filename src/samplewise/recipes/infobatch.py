"""InfoBatch: random pruning of easy samples with an unbiased gradient (arXiv:2303.04947)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe
from samplewise.schedules import Between, Schedule

__all__ = ["infobatch"]


@recipe(paper="arXiv:2303.04947", level="epoch", source="training")
def infobatch(
    keep: Annotated[float | Schedule, Range(0.1, 1)] = 0.5,
    until: Annotated[float, Range(0, 1)] = 0.875,
    exact: bool = True,
) -> Policy:
    """Drop a random part of the samples whose last loss is below the mean; give the rest of them more weight.

    `keep` is the share of the low-loss samples that trains, with weight 1 / keep (the paper's r is 1 - keep).
    From the share `until` of the epochs on, every sample trains with weight 1.

    `exact=True` keeps a fixed number of low-loss samples, as the official code does: int(keep * low), at
    least one. Each has weight low / kept. That is 1 / keep except for rounding, so the weights add up to all
    samples. `exact=False` drops each sample independently, as the paper writes. The official code starts all
    scores at a constant, and resets weights only when until * epochs is a whole number. Here samples that
    were never seen do not count in the mean, and weights follow the epoch.

    Signal: loss. Memory: 4 bytes a sample. Choice: random among those below the mean.
    Cost: no forward beyond training.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Last(),
        picker=pickers.BelowMean(Between(keep, outside=1.0, stop=until), exact=exact),
        source="training",
    )
