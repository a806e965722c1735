"""Moderate coreset: samples at a median distance from their class (ICLR 2023)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe

__all__ = ["moderate"]


@recipe(paper="ICLR 2023 (Moderate coreset)", level="static", source="pass")
def moderate(
    keep: Share = 0.5,
    center: Literal["median", "mean"] = "median",
    at: Annotated[int | Literal["end"], Range(0)] = "end",
    balance: bool = False,
) -> Policy:
    """Rank all samples by their distance D from the class centre; keep the block of ranks around the median.

    The centre is the coordinate-wise median of the class's features (as in the official code) or their mean
    (as in the paper). The kept ranks of D start at floor(n (1 - keep) / 2 + 0.5). Their number is exactly the
    budget.

    The column `moderate` is minus the distance of a sample's rank from the middle of that block. Of two equal
    distances the sample nearer to its class comes first. D itself is in the column `moderate_distance`.
    Another `keep` chooses again from D. With `balance` each class has its own ranks and its own block.

    Signal: features, target. Memory: 8 bytes a sample (and 4 d + 4 while the pass runs).
    Choice: the median block. Cost: one forward over all n samples.
    """
    return Policy(
        signal=(signals.features, signals.target),
        tracker=trackers.ClassDistance(center),
        picker=pickers.MedianBlock(keep).balanced(balance),
        source="pass",
        final=at,
    )
