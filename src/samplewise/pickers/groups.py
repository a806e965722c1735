"""A window over groups of similar scores: the picker of SeTa."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.pickers import ranking
from samplewise.pickers.base import Keep, Picked, Picker, Pool
from samplewise.schedules import Schedule, number

__all__ = ["GroupWindow", "group_borders"]

_ROUNDS = 300


def group_borders(scores: Float64[Tensor, " m"], groups: int) -> Float64[Tensor, " g"]:
    """Split scores into at most `groups` groups by k-means; return the highest score of each but the last.

    Lloyd's algorithm starts with groups of equally many distinct scores, and ends when no score changes its
    group, after 300 rounds at the latest. The split is a local optimum of k-means. Equal scores stay
    together, so there are at most as many groups as distinct scores. A group that becomes empty is left out.

    Args:
        scores: finite numbers; one at least.
        groups: the number of groups wanted.

    >>> group_borders(torch.tensor([0.0, 1.0, 1.0, 8.0, 9.0], dtype=torch.float64), 2)
    tensor([1.], dtype=torch.float64)
    """
    values, counts = np.unique(scores.numpy(), return_counts=True)
    sums = np.concatenate([[0.0], np.cumsum(values * counts)])
    sizes = np.concatenate([[0], np.cumsum(counts)])
    m = len(values)
    wanted = min(groups, m)
    starts = np.arange(wanted + 1) * m // wanted
    for _ in range(_ROUNDS):
        centres = np.diff(sums[starts]) / np.diff(sizes[starts])
        middles = (centres[1:] + centres[:-1]) / 2
        moved = np.unique([0, *np.searchsorted(values, middles, side="right"), m])
        if np.array_equal(moved, starts):
            break
        starts = moved
    return torch.from_numpy(values[starts[1:-1] - 1])


@checked
@dataclass(frozen=True)
class GroupWindow(Picker):
    """Draws a share of the rows, groups them by score, and keeps the groups inside a window.

    Of g groups, in ascending order of their scores, it keeps w = ceil(alpha * g), from group
    s = step mod (g - w + 1) on. Drawn rows without a score are kept. `group_borders` makes the groups.

    Args:
        sampled: the share that is drawn, uniformly and without replacement.
        groups: the number of groups; fewer if there are fewer different scores.
        alpha: the share of the groups that the window covers. 1: all that was drawn is kept.
        step: the steps that the window has moved.
        by: the column. None: the one that the tracker ranks by.
    """

    sampled: Keep = 0.9
    groups: Annotated[int, Range(1)] = 5
    alpha: Keep = 0.8
    step: Annotated[float | Schedule, Range(0)] = 0
    by: str | None = None
    random: ClassVar[bool] = True

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return ranking.budget(m, number(self.sampled), least), self._width(self.groups) == self.groups

    def pick(self, pool: Pool) -> Picked:
        k, whole = self.size(pool.m, pool.least)
        drawn = ranking.uniform(pool.m, k, pool.rng)
        scores = pool.scores(self.by)[drawn].double()
        seen = ~scores.isnan()
        if not whole and bool(seen.any()):
            borders = group_borders(scores[seen], self.groups)
            found = len(borders) + 1
            width = self._width(found)
            first = int(number(self.step)) % (found - width + 1)
            group = torch.searchsorted(borders, scores)
            drawn = drawn[~seen | ((group >= first) & (group < first + width))]
        return Picked() if len(drawn) == pool.m else Picked(drawn)

    def _width(self, groups: int) -> int:
        return max(1, math.ceil(number(self.alpha) * groups - 1e-9))
