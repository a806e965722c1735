"""Forgetting: how often a sample changes from right to wrong (arXiv:1812.05159)."""

from typing import Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Share
from samplewise.policy import Policy, recipe

__all__ = ["forgetting"]


@recipe(paper="arXiv:1812.05159", level="static", source="training")
def forgetting(
    keep: Share = 0.5,
    never: Literal["inf", "zero", "epochs"] = "inf",
    balance: bool = False,
) -> Policy:
    """Keep the samples whose prediction changed from right to wrong most often.

    A sample that was never right scores +inf and is kept first. The paper's code gives it the number
    of `epochs`. Later code gives it `zero`, the score of a sample that was never forgotten.

    Signal: whether the prediction is right. Memory: 4 bytes a sample when final, 7 while recording.
    Choice: top-k. Cost: no forward beyond a training on everything.
    """
    return Policy(
        signal=signals.correct,
        tracker=trackers.Forgotten(never),
        picker=pickers.TopK(keep).balanced(balance),
        source="training",
        final="end",
    )
