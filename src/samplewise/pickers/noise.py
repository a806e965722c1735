"""`NoiseBudget`: the fewest samples whose reweighted gradients stay within a budget of noise."""

from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Shaped

from samplewise.checks import Range, checked
from samplewise.pickers.base import Picked, Picker, Pool
from samplewise.schedules import Schedule, number

__all__ = ["NoiseBudget", "inflation", "probabilities", "systematic"]


@checked
@dataclass(frozen=True)
class NoiseBudget(Picker):
    """Keeps row i with probability pi = clip(score / tau, least, 1) and weight 1 / pi.

    A score is the norm of the gradient of a sample. tau is the largest number for which the noise inflation
    R = sum(score^2 / pi) / sum(score^2) is at most 1 + noise. So the sum of the pi is the smallest for this
    R, if no pi is below `least`. Rows without a score have pi = 1 and do not count in R. If all scores are 0,
    all rows stay. With noise = 0 all rows stay, with weight 1.

    The draw is systematic, along a random order: the number of rows differs from the sum of the pi by less
    than 1. If that sum is below the number of rows that must stay (1 for an epoch), all pi rise towards 1
    until it is reached. `normalize="mean1"` divides the weights by their mean over the drawn rows.

    Notes: `keep` is the share of the rows that was drawn, `noise_inflation` is R, and `step_growth` is
    m / sum(pi), the mean weight of a drawn row before `mean1`.

    Raises:
        ValueError: if noise is above 1 / least - 1. R reaches 1 / least when all pi are `least`.
    """

    noise: Annotated[float | Schedule, Range(0)] = 0.5
    least: Annotated[float, Range(0.001, 1)] = 0.1
    normalize: Literal["mean1", "none"] = "mean1"
    by: str | None = None
    nonnegative: ClassVar[bool] = True
    random: ClassVar[bool] = True
    own_weights: ClassVar[bool] = True

    def __post_init__(self) -> None:
        noise = self.noise
        for given in (noise.at(0, 1), noise.at(1, 1)) if isinstance(noise, Schedule) else (noise,):
            _refuse_unreachable(given, self.least)

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return m, self.noise == 0

    def pick(self, pool: Pool) -> Picked:
        scores: Any = pool.scores(self.by).numpy()
        chances = probabilities(scores, number(self.noise), self.least)
        fewest, total = min(pool.m, max(1, pool.least)), float(chances.sum())
        if total < fewest:
            chances += (1 - chances) * ((fewest - total) / (pool.m - total))
        kept = systematic(chances, pool.rng)
        rows = np.flatnonzero(kept)
        notes = {
            "keep": len(rows) / pool.m,
            "noise_inflation": inflation(scores, chances),
            "step_growth": pool.m / float(chances.sum()),
        }
        if (chances == 1).all():
            return Picked(notes=notes)
        weights = 1 / chances[rows]
        if self.normalize == "mean1":
            weights /= weights.mean()
        return Picked(torch.from_numpy(rows), torch.from_numpy(weights.astype(np.float32)), notes)


def _refuse_unreachable(noise: Any, least: Any) -> None:
    """Raise if no probabilities of at least `least` have so much noise."""
    numbers = all(isinstance(given, Real) and not isinstance(given, bool) for given in (noise, least))
    if numbers and 0 < least <= 1 and (1 + noise) * least > 1 + 1e-9:
        raise ValueError(
            f"NoiseBudget.noise must be at most 1 / least - 1 = {1 / least - 1:.4g}, got {noise!r} with "
            f"least={least!r}. Give less noise, or a smaller least."
        )


def probabilities(scores: Shaped[Any, " m"], noise: float, least: float) -> Shaped[Any, " m"]:
    """The probability of every row, in float64: clip(score / tau, least, 1); 1 for NaN.

    >>> import numpy as np
    >>> probabilities(np.array([1.0, 4.0]), noise=0.1, least=0.1)  # R = (1 / 0.37 + 16) / 17 = 1.1
    array([0.37037037, 1.        ])
    """
    chances = np.ones(len(scores))
    seen = ~np.isnan(scores)
    found = scores[seen].astype(np.float64)
    if noise == 0 or not (largest := found.max(initial=0.0)) > 0:
        return chances
    found /= largest  # then no square overflows, and one that underflows does not count beside 1
    chances[seen] = np.clip(found / _threshold(found, noise, least), least, 1)
    return chances


def _threshold(scores: Shaped[Any, " m"], noise: float, least: float) -> float:
    """The largest tau with sum(score^2 / pi) <= (1 + noise) sum(score^2). The largest score is 1.

    The sum is linear in tau between the points where a row reaches pi = 1 (at its score) or pi = least (at
    score / least): low / least + tau * middle + high, where `low` and `high` are sums of score^2 of rows with
    pi = least and pi = 1, and `middle` is the sum of the other scores.
    """
    rising = np.sort(scores[scores > 0])
    n = len(rising)
    sums, squares = _prefix_sums(rising), _prefix_sums(rising * rising)
    points = np.concatenate([rising, rising / least])
    order = np.argsort(points, kind="stable")  # a merge, in linear time: both parts are sorted
    points = points[order]
    below_one = np.cumsum(order < n)  # rows with pi < 1, just above each point
    at_least = np.arange(1, 2 * n + 1) - below_one  # rows with pi = least
    middle = sums[below_one] - sums[at_least]
    total = squares[at_least] / least + points * middle + (squares[n] - squares[below_one])
    budget = (1 + noise) * squares[n]
    last = max(0, int(np.count_nonzero(total <= budget)) - 1)
    if last == 2 * n - 1:
        return float(points[last])
    if middle[last] <= 0:
        return float(points[last + 1])
    reached = points[last] + max(0.0, budget - total[last]) / middle[last]
    return float(min(reached, points[last + 1]))


def _prefix_sums(values: Shaped[Any, " n"]) -> Shaped[Any, " n+1"]:
    """The sums of the first 0, 1, ..., n values."""
    return np.concatenate([[0.0], np.cumsum(values)])


def inflation(scores: Shaped[Any, " m"], chances: Shaped[Any, " m"]) -> float:
    """R = sum(score^2 / pi) / sum(score^2) over the rows with a score; 1 if all scores are 0.

    >>> import numpy as np
    >>> inflation(np.array([1.0, 2.0]), np.array([0.5, 1.0]))
    1.2
    """
    seen = ~np.isnan(scores)
    found = scores[seen].astype(np.float64)
    if not (largest := found.max(initial=0.0)) > 0:
        return 1.0
    squares = np.square(found / largest)
    return float((squares / chances[seen]).sum() / squares.sum())


def systematic(chances: Shaped[Any, " m"], rng: torch.Generator) -> Shaped[Any, " m"]:
    """Which rows are drawn, each with exactly its own probability in (0, 1].

    Rows with probability below 1 are put into a random order and laid end to end, each as long as its
    probability. Points at u, u + 1, u + 2, ... are drawn, with one u in [0, 1). So the number of rows is the
    sum of the probabilities, rounded up or down.

    Source: W. G. Madow, "On the Theory of Systematic Sampling, II", Annals of Mathematical Statistics 20
    (1949). The random order is Hartley and Rao's (ibid. 33, 1962).
    """
    # First u, then the order: with the same u, smaller probabilities cannot give more rows.
    u = float(torch.rand((), dtype=torch.float64, generator=rng))
    kept = chances >= 1
    rows = np.flatnonzero(~kept)
    if not len(rows):
        return kept
    order: Any = torch.randperm(len(rows), generator=rng).numpy()
    ends = np.cumsum(chances[rows][order])
    if abs(whole := round(ends[-1]) - ends[-1]) < 1e-9:
        ends[-1] += whole  # a rounding error of the sum must not take a row away
    points = np.ceil(ends - u)
    kept[rows[order]] = np.diff(points, prepend=0.0) > 0
    return kept
