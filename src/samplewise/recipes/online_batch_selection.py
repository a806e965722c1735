"""Epochs drawn by the rank of the last loss (Online Batch Selection, Loshchilov and Hutter)."""

from dataclasses import dataclass
from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, checked
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule

__all__ = ["Easing", "online_batch_selection"]


@checked
@dataclass(frozen=True)
class Easing(Schedule):
    """From `start` in the first epoch down to 1 in the last, by the same factor every epoch.

    >>> [Easing(100.0).at(e, 3) for e in range(3)]
    [100.0, 10.0, 1.0]
    """

    start: Annotated[float, Range(1)]

    def at(self, epoch: int, epochs: int) -> float:
        return float(self.start ** (1 - min(1.0, epoch / max(1, epochs - 1))))


@recipe(paper="arXiv:1511.06343", level="epoch", source="training+pass")
def online_batch_selection(
    keep: Keep = 0.5,
    pressure: Annotated[float | Schedule, Range(1)] = 100.0,
    refresh: Annotated[int, Range(1)] = 5,
) -> Policy:
    """Draw `keep` of the samples for every epoch, the likelier the larger their last known loss ranks.

    P(rank r of n) ~ exp(-ln(s) r / n) without replacement, so s is the odds of the first rank against
    the last. It falls from `pressure` (the paper's s_e0) in the first epoch exponentially to 1, a
    uniform draw, in the last; a schedule is taken as it is. Losses are those of the last visit; before
    the epochs divisible by `refresh` (the paper's r_freq) a pass renews all. The paper draws every
    batch anew from all samples; here the draw is the epoch's. `keep` and `refresh` are our defaults.

    Signal: loss. Memory: 4 bytes a sample. Choice: weighted draw by rank.
    Cost: one forward pass over all n samples every `refresh` epochs, before the first too.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Last(),
        picker=pickers.RankDrawn(keep, pressure if isinstance(pressure, Schedule) else Easing(pressure)),
        source="training+pass",
        refresh=refresh,
    )
