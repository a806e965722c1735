"""Samples whose mean feature stays at the class's mean (herding, Welling, ICML 2009)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe

__all__ = ["herding"]


@recipe(paper="ICML 2009 (herding)", level="static", source="pass")
def herding(
    keep: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    at: Annotated[int | Literal["end"], Range(0)] = "end",
) -> Policy:
    """Pick, class by class, the sample that brings the mean feature of the picked nearest to the class's.

    Classes are the labels, or else the targets; make one class of unlabelled data by targets of 0.
    DeepCore's code picks the sample that leads farthest away (argmax), which is an error.

    Signal: features. Memory: 4 d + 8 bytes a sample.
    Choice: greedy; the column is minus the order of picking, and serves every smaller keep.
    Cost: one forward over all n samples, and O(n d) for every pick of a class of n.
    """
    return Policy(
        signal=(signals.features, signals.target),
        tracker=trackers.Last(),
        picker=pickers.Herding(keep),
        source="pass",
        final=at,
    )
