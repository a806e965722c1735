"""Batches drawn by the loss and reweighted (Katharopoulos and Fleuret, arXiv:1803.00942)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule

__all__ = ["importance_sampling"]

_FORGET = 0.9


@recipe(
    paper="arXiv:1803.00942",
    level="batch",
    source="training",
    exempt={"gradients_add_up": "draws repeat rows, so each process divides by its own number of rows"},
)
def importance_sampling(
    keep: Keep = 0.25,
    k: Annotated[float | Schedule, Range(0, 1)] = 0.5,
    smoothing: Annotated[float, Range(0)] = 0.0,
    adaptive: bool = False,
) -> Policy:
    """Draw `keep` of every meta-batch with replacement, P ~ s = loss + smoothing, and reweight.

    A draw of row i has the weight (mean(s) / s_i) ** k, scaled so that the weighted scores keep their sum.
    With k = 1 the mean over the draws is an unbiased estimate of the meta-batch's mean gradient (if all s >
    0). k < 1 favours hard samples. k = 0 does not reweight. A row drawn several times trains once, with that
    multiple of its weight. So at most `keep` of the rows train. If all draws give the same row, the row with
    the highest score of the others trains too, with weight 1e-30, because batch norm needs two rows.

    With `adaptive`, the number added to the loss is `smoothing` times a running mean of the loss. Each new
    meta-batch has weight 0.1 in this mean (the old mean has 0.9, as in the official code). With several
    processes each process averages its own batches.

    Signal: loss. Memory: 4 bytes a sample. Choice: weighted draw with replacement.
    Cost: one scoring forward over every meta-batch.
    """
    tracker: trackers.Tracker = trackers.Last()
    if smoothing:
        tracker = tracker | trackers.Smoothed(smoothing, rate=1 - _FORGET if adaptive else None)
    elif adaptive:
        raise ValueError(
            "importance_sampling.smoothing must be > 0 with adaptive=True, got 0. It is the share of the "
            "mean loss that is added to every loss: give smoothing=0.5, for example."
        )
    return Policy(
        signal=signals.loss,
        tracker=tracker,
        batch_picker=pickers.WithReplacement(keep, k),
        source="training",
    )
