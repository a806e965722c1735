"""Herding: samples whose mean feature stays near the mean of their class (Welling, ICML 2009)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe

__all__ = ["herding"]


@recipe(paper="ICML 2009 (herding)", level="static", source="pass")
def herding(
    keep: Share = 0.5,
    at: Annotated[int | Literal["end"], Range(0)] = "end",
) -> Policy:
    """In each class, pick the sample that brings the mean feature of the picks nearest to that of the class.

    Classes are the labels, or the targets if there are no labels. For unlabelled data, return targets of 0:
    that makes one class. DeepCore's code picks the sample that leads farthest away (argmax), which is an
    error.

    Signal: features. Memory: 4 d + 8 bytes a sample.
    Choice: greedy; the column is minus the order of picking, so one recording serves every smaller `keep`.
    Cost: one forward over all n samples, and O(n d) for every pick of a class of n.
    """
    return Policy(
        signal=(signals.features, signals.target),
        tracker=trackers.Last(),
        picker=pickers.Herding(keep),
        source="pass",
        final=at,
    )
