"""Dyn-Unc: the spread of the target's probability inside windows of epochs (arXiv:2306.05175)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe

__all__ = ["dyn_unc"]


@recipe(paper="arXiv:2306.05175", level="static", source="training")
def dyn_unc(
    keep: Share = 0.5,
    window: Annotated[int | None, Range(2)] = None,
    balance: bool = False,
) -> Policy:
    """Keep the samples whose predicted probability of the target varies most from epoch to epoch.

    The score is the unbiased standard deviation over each `window` = K consecutive epochs, averaged over all
    windows. The default window is 10 epochs, or all epochs of a shorter training. The official code leaves
    out the last window and scores in eval mode. Here every window counts, and the values come from the
    training forward. Other papers describe the method as the variance over the whole run. A window of as many
    epochs as the training has is that: one window, whose deviation ranks the samples as the variance does.

    Signal: probability of the target. Memory: 4 bytes a sample when final, 4 K + 8 while recording.
    Choice: top-k. Cost: no forward beyond a training on everything.
    """
    return Policy(
        signal=signals.target_probability,
        tracker=trackers.WindowSpread(window),
        picker=pickers.TopK(keep).balanced(balance),
        source="training",
        final="end",
    )
