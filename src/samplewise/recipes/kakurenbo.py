"""KAKURENBO: hide the samples that are easy, right and confident (arXiv:2310.10102)."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule

__all__ = ["Relaxed", "kakurenbo"]

_FACTORS = (1.0, 0.8, 0.6, 0.4)


@dataclass(frozen=True)
class Relaxed(Schedule):
    """Multiplies the share dropped, 1 - keep, by 1, 0.8, 0.6, 0.4 as training passes three milestones.

    >>> [round(Relaxed(0.7, (0.3, 0.6, 0.8)).at(e, 10), 2) for e in (0, 3, 6, 8)]
    [0.7, 0.76, 0.82, 0.88]
    """

    keep: float | Schedule
    milestones: tuple[float, float, float]

    def at(self, epoch: int, epochs: int) -> float:
        keep = self.keep.at(epoch, epochs) if isinstance(self.keep, Schedule) else self.keep
        passed = bisect_right([share * epochs - 1e-9 for share in self.milestones], epoch)
        return 1 - (1 - keep) * _FACTORS[passed]


@recipe(paper="arXiv:2310.10102", level="epoch", source="training+pass")
def kakurenbo(
    keep: Keep = 0.7,
    tau: Annotated[float | Schedule, Range(0, 1)] = 0.7,
    milestones: tuple[float, float, float] = (0.3, 0.6, 0.8),
    lr_from_actual: bool = False,
) -> Policy:
    """Hide up to 1 - keep of the samples: those with the smallest losses, if right with confidence `tau`.

    `keep` is the smallest share that trains (the paper's F is 1 - keep). The hidden share is multiplied by
    0.8, 0.6 and 0.4 at the three `milestones`, which are shares of the epochs. The confidence is a softmax
    over classes. In the official code it is a softmax over the batch. Multiply the learning rate by
    `selector.lr_factor(epoch)`, which is 1 / (1 - F). F is the nominal share, as in the official code. With
    `lr_from_actual=True` it is the share that was hidden in fact.

    Signal: loss, correct, confidence. Memory: 9 bytes a sample. Choice: top-k with move-back.
    Cost: one forward over the hidden samples after every epoch but the last.
    """
    if list(milestones) != sorted(milestones) or not all(0 <= share <= 1 for share in milestones):
        raise ValueError(
            "kakurenbo.milestones must be three shares of the epochs in [0, 1], in ascending order, "
            f"got {milestones!r}."
        )
    return Policy(
        signal=(signals.loss, signals.correct, signals.confidence),
        tracker=trackers.Last(),
        picker=pickers.HideEasy(Relaxed(keep, milestones), tau=tau),
        source="training+pass",
        lr="actual" if lr_from_actual else "nominal",
    )
