"""DUAL's draw by score times a Beta density: the fewer are kept, the easier they are (arXiv:2502.06905)."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, Share, checked
from samplewise.pickers import ranking
from samplewise.pickers.base import Budgeted, Pool, Rows
from samplewise.pickers.drawn import gumbel_top

__all__ = ["BetaDrawn", "parameters"]

_ANCHORS = 10  # the samples with the highest scores, whose mean probability the density starts from
_LEAST, _MOST = math.ulp(0.0), 1 - 2**-25  # the density may be infinite at 0 and at 1


def parameters(
    keep: float, anchor: float, exponent: float, scale: float = 15.0, total: float = 15.0
) -> tuple[float, float]:
    """The two parameters of the Beta density for a share kept.

    With `total` = `scale` its mean is `anchor` where all are kept, and rises to 1 as fewer are kept.

    >>> parameters(1.0, 0.4, 4), parameters(0.5, 0.5, 1)
    ((6.0, 9.0), (11.25, 3.75))
    """
    b = scale * (1 - anchor) * (1 - (1 - keep) ** exponent)
    return total - b, b


@checked
@dataclass(frozen=True)
class BetaDrawn(Budgeted):
    """Draws without replacement, P ~ score x Beta density of `probability`.

    With r = 1 - keep, and m the mean probability of the 10 samples with the highest scores, the
    density has b = `scale` (1 - m) (1 - r ** `exponent`) and a = `total` - b. Samples of score 0 are
    drawn after all others. Reads the columns score and probability of `trackers.DifficultySpread`.
    """

    keep: Share
    exponent: Annotated[float, Range(0, open_low=True)] = 5.5
    scale: Annotated[float, Range(0, open_low=True)] = 15.0
    total: Annotated[float, Range(0, open_low=True)] = 15.0
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if all(isinstance(n, int | float) for n in (self.total, self.scale)) and self.total < self.scale:
            raise ValueError(
                f"BetaDrawn.total must be at least {self.scale:g}, got {self.total:g}. "
                "It is the sum of the two parameters of the Beta density."
            )

    def take(self, pool: Pool, k: int) -> Rows:
        return gumbel_top(self.log_weights(pool), k, pool.rng)

    def reason(self, pool: Pool, row: int, k: int) -> str:
        times = float(self.log_weights(pool).softmax(0)[row]) * pool.m
        mean = float(pool.scores("probability")[row])
        return (
            f"{k:,} of {pool.m:,} samples are drawn, P ~ score x Beta density of the mean probability of the "
            f"label, here {mean:.4g}. Its weight in the draw is {times:.3g} times the mean."
        )

    def log_weights(self, pool: Pool) -> Float[Tensor, " m"]:
        """The logarithm of every sample's weight in the draw, up to a constant. NaN: never observed."""
        score, mean = pool.scores(None).double(), pool.scores("probability").double()
        highest = ranking.top(score.nan_to_num(-1.0), _ANCHORS, pool.ids)
        anchor = float(mean[highest].nanmean())
        a, b = parameters(self.keep, anchor, self.exponent, self.scale, self.total)
        mean = mean.clamp(_LEAST, _MOST)
        density = torch.special.xlogy(a - 1, mean) + torch.special.xlogy(b - 1, 1 - mean)
        found: Tensor = score.log() + density
        positive = found[score > 0]
        # Far below all others, but not -inf: equal weights are drawn in a random order.
        lowest = float(positive.min()) - 1000 if len(positive) else 0.0
        return found.masked_fill(score == 0, lowest)
