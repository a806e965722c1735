"""Area under the margin: keep the samples with the smallest margins (arXiv:2001.10528)."""

from typing import Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Share
from samplewise.policy import Policy, recipe

__all__ = ["aum"]


@recipe(paper="arXiv:2001.10528", level="static", source="training")
def aum(
    keep: Share = 0.5,
    of: Literal["probability", "logit"] = "probability",
    balance: bool = False,
    highest: bool = False,
) -> Policy:
    """Keep the samples whose predictions rarely had a clear margin.

    The score is minus the mean of (target - largest other) over all epochs. A higher score means a harder
    sample. Wrong labels have small margins too. The paper uses the area to find them.
    The paper takes the margin of the logits (`of="logit"`). Pruning papers take the margin of the
    probabilities, which is the default. `highest=True` keeps the samples with the largest margins, as the
    text of the TDDS paper says. It is not the default, because the numbers of that paper and the code of CCS
    are those of the smallest margins.

    Signal: minus the margin, or the margin with `highest`. Memory: 4 bytes a sample when final, 12 while
    recording. Choice: top-k. Cost: no forward beyond a training on everything.
    """
    if highest:
        signal = signals.probability_margin if of == "probability" else signals.logit_margin
    else:
        signal = signals.negative_margin if of == "probability" else signals.negative_logit_margin
    return Policy(
        signal=signal,
        tracker=trackers.Mean(),
        picker=pickers.TopK(keep).balanced(balance),
        source="training",
        final="end",
    )
