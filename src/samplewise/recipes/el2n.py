"""EL2N: the distance of early predictions from the labels (arXiv:2107.07075)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe

__all__ = ["el2n"]

_PUBLISHED = 10


@recipe(paper="arXiv:2107.07075", level="static", source="training")
def el2n(
    keep: Share = 0.5,
    first: Annotated[int | None, Range(1)] = None,
    balance: bool = False,
) -> Policy:
    """Keep the samples whose predictions were far from their labels early in training.

    The score is the mean over the `first` epochs of one run, as later papers use it. The default is 10
    epochs, or all epochs of a shorter training. The paper itself takes one early checkpoint in eval mode and
    the mean over 10 models. For that, record several runs and combine their tables. Wrong labels get high
    scores.

    Signal: ||p - e_y||. Memory: 4 bytes a sample when final, 12 while recording.
    Choice: top-k. Cost: no forward beyond the `first` epochs of a training on everything.
    """
    return Policy(
        signal=signals.el2n,
        tracker=trackers.Mean(first, most=_PUBLISHED),
        picker=pickers.TopK(keep).balanced(balance),
        source="training",
        final="end",
    )
