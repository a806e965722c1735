"""Spread of the target's probability inside windows of epochs (arXiv:2306.05175)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe

__all__ = ["dyn_unc"]


@recipe(paper="arXiv:2306.05175", level="static", source="training")
def dyn_unc(
    keep: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    window: Annotated[int | None, Range(2)] = None,
    balance: bool = False,
) -> Policy:
    """Keep the samples whose predictions are uncertain in time.

    The unbiased standard deviation over each `window` = K of consecutive epochs (10, or all of a
    shorter training), then the mean over all windows. The official code leaves the last window out
    and scores in eval mode; here every window counts and the training forward is what is recorded.

    Signal: probability of the target. Memory: 4 bytes a sample when final, 4 K + 8 while recording.
    Choice: top-k. Cost: no forward beyond a training on everything.
    """
    inner = pickers.TopK(keep)
    return Policy(
        signal=signals.target_probability,
        tracker=trackers.WindowSpread(window),
        picker=pickers.PerClass(inner) if balance else inner,
        source="training",
        final="end",
    )
