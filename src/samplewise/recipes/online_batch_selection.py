"""Online Batch Selection: epochs drawn by the rank of the last loss (Loshchilov and Hutter)."""

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
    """Falls from `start` in the first epoch to 1 in the last, by the same factor every epoch.

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
    """Draw `keep` of the samples for every epoch; a higher rank of the last loss makes the draw more likely.

    P(rank r of n) ~ exp(-ln(s) r / n), without replacement. So s is how much more likely the first rank is
    than the last. s falls exponentially from `pressure` (the paper's s_e0) in the first epoch to 1, a uniform
    draw, in the last epoch. If `pressure` is a schedule, s follows that schedule. The loss of a sample is
    that of its last visit. A pass computes all losses again before every epoch that is divisible by `refresh`
    (the paper's r_freq). The paper draws every batch from all samples. Here one draw is made for the whole
    epoch. The defaults of `keep` and `refresh` are ours.

    Signal: loss. Memory: 4 bytes a sample. Choice: weighted draw by rank.
    Cost: one forward over all n samples every `refresh` epochs, also before the first epoch.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Last(),
        picker=pickers.RankDrawn(keep, pressure if isinstance(pressure, Schedule) else Easing(pressure)),
        source="training+pass",
        refresh=refresh,
    )
