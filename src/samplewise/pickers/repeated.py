"""Draws with replacement and the weights that go with them (importance sampling)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.pickers import ranking
from samplewise.pickers.base import Keep, Picked, Picker, Pool
from samplewise.schedules import Schedule, number

__all__ = ["WithReplacement"]

_Scores = npt.NDArray[np.float64]

_NOTHING = 1e-30


@checked
@dataclass(frozen=True)
class WithReplacement(Picker):
    """Draws with replacement, P ~ score, each weighted by (mean score / its score) ** k.

    With v_i = mean(s) / s_i over the m candidates (0 where s_i is, which is never drawn) a draw of i weighs
    w_i = v_i^k * sum(v s) / sum(v^k s). The b draws become u distinct rows of weight
    multiplicity * w_i * u / b, so that the mean of weight * loss over the u rows is the mean of
    w * loss over the b draws. With k = 1 its expectation is the mean over all m, if every score is
    above 0; with k = 0 every w is 1.

    If all draws fall on one row, the row with the highest score of the others trains too, because a batch
    norm needs two rows. Its weight is 1e-30, too small to change a float32 sum. The drawn row has twice its
    weight, because the mean is over two. A missing score counts as the mean of the others.

    Args:
        draws: the number of draws as a share of the rows, by the rule of every budget.
        k: the exponent.
        by: the column of scores.
    """

    draws: Keep
    k: Annotated[float | Schedule, Range(0, 1)] = 0.5
    by: str | None = None
    nonnegative: ClassVar[bool] = True
    random: ClassVar[bool] = True
    own_weights: ClassVar[bool] = True

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return ranking.budget(m, number(self.draws), least), self.everything

    @property
    def everything(self) -> bool:
        return self.draws == 1

    @property
    def uneven(self) -> bool:
        return False

    def mean_over(self, b: int, k: int) -> int:
        return self.size(b, 2)[0]  # the draws, of which several may fall on one row

    def pick(self, pool: Pool) -> Picked:
        if self.everything:
            return Picked()
        scores = _without_nan(pool.scores(self.by))
        b, _ = self.size(pool.m, pool.least)
        times = np.bincount(_drawn(scores, b, pool.rng), minlength=pool.m)
        weights = times * self._weights(scores) / b
        rows = np.flatnonzero(times)
        if len(rows) == 1 < min(pool.m, pool.least):
            others = torch.from_numpy(np.where(times > 0, -1.0, scores))
            beside = int(ranking.top(others, 1, pool.ids))
            weights[beside] = _NOTHING
            rows = np.sort(np.append(rows, beside))
        return Picked(
            torch.from_numpy(rows), torch.from_numpy((weights[rows] * len(rows)).astype(np.float32))
        )

    def weights(self, scores: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """The weight w of a draw of each row, in float64; all 1 if every score is 0."""
        return torch.from_numpy(self._weights(_without_nan(scores)))

    def _weights(self, s: _Scores) -> _Scores:
        total, k = s.sum(), number(self.k)
        if not total or not k:
            return np.ones_like(s)
        v = np.divide(total / len(s), s, out=np.zeros_like(s), where=s > 0)
        bent = v**k
        return np.asarray(bent * ((v @ s) / (bent @ s)))


def _without_nan(scores: Float[Tensor, " m"]) -> _Scores:
    """The scores in float64, with the mean of the others for NaN; 1 for each if all are NaN."""
    found: _Scores = scores.double().numpy()
    if np.isnan(found.sum()):
        unseen = np.isnan(found)
        found = np.where(unseen, found[~unseen].mean() if not unseen.all() else 1.0, found)
    return found


def _drawn(scores: _Scores, b: int, rng: torch.Generator) -> npt.NDArray[np.int64]:
    """B rows drawn independently with P ~ score, or uniformly if every score is 0."""
    ends = scores.cumsum()
    if not ends[-1]:
        ends = np.arange(1.0, len(scores) + 1)
    points: _Scores = torch.rand(b, generator=rng, dtype=torch.float64).numpy() * ends[-1]
    # A point that rounds up to the very end falls on the last row that has a chance.
    last = np.searchsorted(ends, ends[-1])
    return np.asarray(np.minimum(np.searchsorted(ends, points, side="right"), last))
