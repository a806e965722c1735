"""The largest loss of a pass, plain or averaged over passes (arXiv:2111.12621)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.trackers import Rate

__all__ = ["uncertainty", "uncertainty_ema"]


@recipe(paper="arXiv:2111.12621", level="epoch", source="pass")
def uncertainty(keep: Keep = 0.5, period: Annotated[int, Range(1)] = 10) -> Policy:
    """Every `period` epochs, select the samples with the largest current loss.

    The first selection is at epoch 0, with the untrained network. There is no warm-up.

    Signal: loss. Memory: 4 bytes a sample. Choice: top-k.
    Cost: one forward over all n samples every `period` epochs.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Last(),
        picker=pickers.TopK(keep),
        every=period,
        source="pass",
    )


@recipe(paper="arXiv:2111.12621", level="epoch", source="pass")
def uncertainty_ema(keep: Keep = 0.5, period: Annotated[int, Range(1)] = 10, alpha: Rate = 0.8) -> Policy:
    """Every `period` epochs, select the samples with the largest loss, averaged over the passes.

    `alpha` is the paper's weight of the NEWEST loss. The first pass starts the average.

    Signal: loss. Memory: 4 bytes a sample. Choice: top-k.
    Cost: one forward over all n samples every `period` epochs.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Ema(rate=alpha),
        picker=pickers.TopK(keep),
        every=period,
        source="pass",
    )
