"""A draw without replacement from choice to choice: the samples that were chosen least often come first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from samplewise.checks import checked
from samplewise.data.bits import Bits
from samplewise.pickers import pieces, ranking
from samplewise.pickers.base import Budgeted, Keep, Pool, Rows

__all__ = ["LeastUsed"]


@checked
@dataclass(frozen=True)
class LeastUsed(Budgeted):
    """Draws uniformly among the samples that were chosen least often, then among the next ones.

    So no sample is chosen twice before every sample was chosen once. It needs `Pool.times`; without it every
    sample counts as never chosen, and the draw is uniform.
    """

    keep: Keep
    random: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        if pool.times is None:
            return ranking.uniform(pool.m, k, pool.rng)
        last = pool.times.kthvalue(k).values
        sure, equal = (pool.times < last).nonzero().squeeze(1), (pool.times == last).nonzero().squeeze(1)
        drawn = equal[ranking.uniform(len(equal), k - len(sure), pool.rng)]
        return torch.cat([sure, drawn]).sort().values

    def sift(self, pool: Pool, k: int) -> Bits:
        if pool.times is None:
            return pieces.uniform(Bits(pool.m), k, pool.rng)

        def unused() -> Iterator[Tensor]:
            for piece in pool.pieces():
                if piece.times is not None:
                    yield -piece.times

        return pieces.top_drawn(pool.m, unused, k, pool.rng)
