"""D2 pruning: hard samples of different neighborhoods, by message passing (arXiv:2310.07931)."""

from dataclasses import replace
from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe
from samplewise.recipes.ccs import measured_by

__all__ = ["d2"]


@recipe(paper="arXiv:2310.07931", level="static", source="training")
def d2(
    keep: Share = 0.5,
    score: str = "forgetting",
    neighbors: Annotated[int, Range(1)] = 5,
    gamma_f: Annotated[float, Range(0)] = 1.0,
    gamma_r: Annotated[float, Range(0)] = 0.1,
    balance: bool = False,
) -> Policy:
    """Join samples with their nearest neighbors, let difficulty spread, and pick away from what was picked.

    The graph has an edge between two samples if one is among the `neighbors` = k nearest ones of the other,
    by the Euclidean distance d of their features. Forward message: the difficulty x_i becomes
    x_i + sum_j exp(-`gamma_f` d_ij^2) x_j over its neighbors j. Then the sample i with the highest x_i is
    picked, and the reverse message takes exp(-`gamma_r` d_ij^2) x_i from every neighbor j, and so on. These
    are gamma_f and gamma_r of the paper. Distances are those of the features as they are: if the squares are
    large, no message arrives, and the choice is that of `score` alone.

    `score` is any static method with a score of its own, recorded as in that method. The paper takes
    `forgetting` for CIFAR and `aum` for ImageNet. An infinite score counts as the largest finite one plus 1.
    Scores with negative ones are shifted so that the least is 0. The features come from the forwards that
    record `score`: the last training forward of each sample, or its pass (`score="entropy"`). The official
    code has the distance in place of its square, and gamma_f = 1. k = 5 and gamma_r = 0.1 are those of its
    example for CIFAR-10. The paper tunes both for each data set and share.

    In the study `recent` (images, a small network, 10 seeds, keep 0.5) its whole cost, with the scoring run,
    was 1.5 trainings, and the accuracy 1.35 points below full training of that length.

    Signal: that of `score`, and features. Memory: 4 d + 8 bytes a sample (and that of recording `score`).
    Choice: greedy; the column is minus the order of picking, so one recording serves every smaller `keep`.
    Cost: that of `score`, and the distances of all samples, in blocks: O(n^2 d) time, 16 d + 2048 bytes a
    sample. With `balance` the graph and the choice are inside each class.
    """
    measured = measured_by(score, keep, "d2")
    if measured.tracker is None or measured.ranks is None:
        raise ValueError(f"d2.score must be a method that ranks by a score, got {score!r}. Use 'forgetting'.")
    given = measured.signal if isinstance(measured.signal, tuple) else (measured.signal,)
    return replace(
        measured,
        signal=(*given, signals.features),
        tracker=trackers.Features() | measured.tracker,
        picker=pickers.MessagePassing(keep, measured.ranks, neighbors, gamma_f, gamma_r, balance),
        weighting="none",
    )
