"""Ordered SGD: train on the largest losses of every batch (arXiv:1907.04371)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule

__all__ = ["ordered_sgd"]


@recipe(paper="arXiv:1907.04371", level="batch", source="training")
def ordered_sgd(
    keep: Annotated[float | Schedule | Literal["adaptive"], Range(0, 1, open_low=True)] = 0.25,
) -> Policy:
    """Back-propagate the mean of the largest losses of every meta-batch.

    `keep="adaptive"` is the paper's rule. It keeps all rows first, then 1/2, 1/4, 1/8, 1/16 when the train
    accuracy of the previous epoch reaches 80, 90, 95, 99.5 %. The share never grows again. Forward must then
    return logits and targets, and the memory is one byte a sample more.

    Signal: loss. Memory: 4 bytes a sample. Choice: top-k.
    Cost: one scoring forward over every meta-batch.
    """
    if keep == "adaptive":
        return Policy(
            signal=(signals.loss, signals.correct),
            tracker=trackers.Last() | trackers.BestAccuracy(),
            batch_picker=pickers.AdaptiveTopK(),
            source="training",
        )
    return Policy(
        signal=signals.loss,
        tracker=trackers.Last(),
        batch_picker=pickers.TopK(keep),
        source="training",
    )
