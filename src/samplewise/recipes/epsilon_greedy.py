"""Average loss with random exploration (arXiv:2111.12621)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule
from samplewise.trackers import Rate

__all__ = ["epsilon_greedy"]


@recipe(paper="arXiv:2111.12621", level="epoch", source="pass")
def epsilon_greedy(
    keep: Keep = 0.5,
    period: Annotated[int, Range(1)] = 10,
    alpha: Rate = 0.8,
    eps: Annotated[float | Schedule, Range(0, 1)] = 0.1,
) -> Policy:
    """As `uncertainty_ema`, but floor(eps * k) of the k samples are drawn uniformly from ALL other samples.

    The paper publishes no `eps`. Its sweep shows little effect.

    Signal: loss. Memory: 4 bytes a sample. Choice: top-k and a uniform draw.
    Cost: one forward over all n samples every `period` epochs.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Ema(rate=alpha),
        picker=pickers.EpsilonGreedy(keep, eps=eps),
        every=period,
        source="pass",
    )
