"""Samples at a middling distance from their class (Moderate coreset, ICLR 2023)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe

__all__ = ["moderate"]


@recipe(paper="ICLR 2023 (Moderate coreset)", level="static", source="pass")
def moderate(
    keep: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    center: Literal["median", "mean"] = "median",
    at: Annotated[int | Literal["end"], Range(0)] = "end",
    balance: bool = False,
) -> Policy:
    """Keep the block around the median of the distances D from the class centre, all samples ranked together.

    The centre is the coordinate-wise median of the class's features (as the official code) or their
    mean (as the paper). The kept ranks of D are floor(n (1 - keep) / 2 + 0.5) and on, exactly the budget.
    Column `moderate` is minus the distance of a sample's rank from the middle of that block, of two
    equally far the nearer to its class first; D itself is in `moderate_distance`, and another `keep`
    is chosen from D anew. With `balance` ranks and blocks are those of each class.

    Signal: features, target. Memory: 8 bytes a sample (and 4 d + 4 while the pass runs).
    Choice: the median block. Cost: one forward over all n samples.
    """
    inner = pickers.MedianBlock(keep)
    return Policy(
        signal=(signals.features, signals.target),
        tracker=trackers.ClassDistance(center),
        picker=pickers.PerClass(inner) if balance else inner,
        source="pass",
        final=at,
    )
