"""UCB: the mean loss plus its variance over the passes (arXiv:2111.12621)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule
from samplewise.trackers import Rate

__all__ = ["ucb"]


@recipe(paper="arXiv:2111.12621", level="epoch", source="pass")
def ucb(
    keep: Keep = 0.5,
    period: Annotated[int, Range(1)] = 10,
    alpha: Rate = 0.8,
    c: Annotated[float | Schedule, Range(0)] = 1.0,
) -> Policy:
    """Keep the samples with the highest mean loss plus `c` times its variance.

    A large variance means that the loss may still be high. `alpha` is the weight of the newest loss in both
    averages. The variance (not its root) uses the mean before the update. The paper calls this Welford's
    algorithm, but it is an average of squared deviations. The paper publishes no `c` and reports that the
    value matters little.

    Signal: loss. Memory: 8 bytes a sample. Choice: top-k.
    Cost: one forward over all n samples every `period` epochs.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.EmaMoments(rate=alpha) | trackers.UpperBound(c),
        picker=pickers.TopK(keep),
        every=period,
        source="pass",
    )
