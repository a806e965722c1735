"""Draws without replacement, with probabilities exponential in the rank or in the score."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.pickers import ranking
from samplewise.pickers.base import Budgeted, Keep, Pool, Rows
from samplewise.schedules import Schedule, number

__all__ = ["Boltzmann", "RankDrawn", "by_rank", "gumbel_top"]


@checked
@dataclass(frozen=True)
class RankDrawn(Budgeted):
    """Draws without replacement, P of the rank-th highest score ~ exp(-ln(pressure) rank / n).

    `pressure` is the odds of the first rank against the last: 1 draws uniformly. Samples without a score
    rank first, equal scores in the order of the samples.
    """

    keep: Keep
    pressure: Annotated[float | Schedule, Range(1)] = 100.0
    by: str | None = None
    random: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        # Draw the ranks first: their probabilities depend on no score.
        odds = torch.arange(pool.m, dtype=torch.float64).mul_(-math.log(number(self.pressure)) / pool.m)
        ranks = gumbel_top(odds, k, pool.rng)
        chosen = np.zeros(pool.m, dtype=bool)
        chosen[by_rank(pool.scores(self.by))[ranks].numpy()] = True
        return torch.from_numpy(np.flatnonzero(chosen))


@checked
@dataclass(frozen=True)
class Boltzmann(Budgeted):
    """Draws without replacement, P ~ exp(score / temperature) among the rows that are left."""

    keep: Keep
    temperature: Annotated[float | Schedule, Range(0, open_low=True)] = 0.25
    by: str | None = None
    on_device: ClassVar[bool] = True
    random: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        return gumbel_top(pool.scores(self.by).double() / number(self.temperature), k, pool.rng)


def gumbel_top(log_weights: Float[Tensor, " m"], k: int, rng: torch.Generator) -> Int[Tensor, " k"]:
    """`ranking.race` for the logarithms of weights, whose exponentials may overflow; rows ascending.

    The k largest of log-weight + Gumbel noise; NaN (never observed) first.
    """
    noise = torch.empty(len(log_weights), dtype=torch.float64).uniform_(generator=rng)
    values: Any = noise.numpy()
    # -ln(-ln(u)) with 1 - u for u, which is never 0: `uniform_` draws from [0, 1).
    np.log1p(np.negative(values, out=values), out=values)
    with np.errstate(divide="ignore"):  # a draw of exactly 0 gives an infinite key, which is chosen first
        np.log(np.negative(values, out=values), out=values)
    return ranking.top(log_weights - noise.to(log_weights.device), k)


def by_rank(scores: Shaped[Tensor, " m"]) -> Int[Tensor, " m"]:
    """The rows from the highest score to the lowest: NaN first, equal ones in order."""
    keys: Any = scores.float().numpy() + np.float32(0)  # in which -0.0 equals 0.0
    unseen = np.isnan(keys)
    bits = keys.view(np.uint32)
    # Floats as whole numbers that rise as the floats fall; the row below them settles ties.
    falling = np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))
    falling[unseen] = 0
    if len(keys) >= 1 << 32:
        return torch.from_numpy(np.argsort(falling, kind="stable"))
    packed = falling.astype(np.uint64) << np.uint64(32) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()  # without the positions of an argsort: several times as fast
    return torch.from_numpy((packed & np.uint64(0xFFFFFFFF)).astype(np.int64))
