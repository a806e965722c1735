"""Samples whose last-layer gradients represent the gradients of all samples (CRAIG, arXiv:1906.01827)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Periods, Schedule, WarmUp

__all__ = ["craig", "craig_dynamic", "warmed_up"]


@recipe(paper="arXiv:1906.01827", level="static", source="pass")
def craig(
    keep: Share = 0.5,
    at: Annotated[int | Literal["end"], Range(0)] = "end",
    block: Annotated[int, Range(2)] = 8192,
) -> Policy:
    """In each class, pick the samples that represent all gradients best; weight each by its cluster's size.

    The choice is facility location. The similarity is the largest distance minus the Euclidean distance
    between the gradients of the last layer (weight and bias). CORDS squares the distance. The weight of a
    pick is the number of samples it represents, divided by the mean of these numbers. DeepCore adds 1 to
    each number. Classes with more than `block` samples are split at random.

    Signal: residual and features. Memory: 4 C + 4 d + 12 bytes a sample.
    Choice: greedy; the column is minus the order of picking, so one recording serves every smaller `keep`.
    Cost: one forward over all n samples, and all distances inside each class.
    """
    return Policy(
        signal=(signals.residual, signals.features, signals.target),
        tracker=trackers.Last(),
        picker=pickers.FacilityLocation(keep, block=block),
        source="pass",
        final=at,
    )


@recipe(paper="arXiv:1906.01827", level="epoch", source="pass")
def craig_dynamic(
    keep: Keep = 0.5,
    period: Annotated[int, Range(1)] = 10,
    block: Annotated[int, Range(2)] = 8192,
    fit: bool = False,
) -> Policy:
    """As `craig`, but choose again every `period` epochs with the current model.

    The first period trains on all samples (warm-up). So a training needs at least two periods. `keep` is the
    share of the later periods, and the warm-up comes on top. With `fit=True`, `keep` is the average over the
    training, the warm-up included, as for `dynams`: compare the two like that.

    Signal: residual and features. Memory: 4 C + 4 d + 4 bytes a sample. Choice: greedy.
    Cost: one forward over all n samples, and all distances inside each class, every period but the first.
    """
    return Policy(
        signal=(signals.residual, signals.features, signals.target),
        tracker=trackers.Last(),
        picker=pickers.FacilityLocation(warmed_up(keep, period, fit), block=block),
        every=period,
        source="pass",
    )


def warmed_up(keep: float | Schedule, period: int, fit: bool) -> Schedule:
    """1 in the first period, then `keep`, or with `fit` the constant share that makes `keep` the average.

    Raises:
        ValueError: with `fit`, if `keep` is a schedule.
    """
    if not fit:
        return WarmUp(keep, period)
    if isinstance(keep, Schedule):
        raise ValueError(f"fit=True needs a number as keep, the average over the training, got {keep}.")
    return Periods(keep, "constant", period)
