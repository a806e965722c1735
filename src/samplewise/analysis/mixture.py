"""Three truncated normals over selection counts: their density, and their fit by maximum likelihood."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float64

from samplewise.checks import Range, check_arguments, checked, require

optimize, special = require("scipy.optimize", "analysis"), require("scipy.special", "analysis")

__all__ = ["Mixture", "fit_mixture", "log_densities", "selection_split_logpdf"]

NARROWEST = 0.5
"""The smallest width of a component: counts are whole numbers, and no likelihood bounds a narrower one."""
EMPTY = 0.01
"""A component with a smaller share is reported as empty: its place says nothing."""
_ROOT = np.sqrt(2 * np.pi)
_SHORT, _CLIMBED, _LONG = 40, 3, 2000
"""All starts climb so many steps, and the best of them to the end."""
Checkpoints = Annotated[int, Range(2)]
Triple = tuple[float, float, float]
Histogram = Float64[np.ndarray, " counts"]


@checked
@dataclass(frozen=True)
class Mixture:
    """Three normals, truncated to [0, checkpoints]: never, sometimes, always, in the order of their means.

    `f(c) = sum_j pi_j phi((c - mu_j) / s_j) / (s_j [Phi((N_c - mu_j) / s_j) - Phi(-mu_j / s_j)])`, with
    `shares` pi, `means` mu, `widths` s and `checkpoints` N_c (arXiv:2111.12621).

    >>> mixture = Mixture((0.3, 0.5, 0.2), (0.0, 8.0, 20.0), (2.0, 3.0, 1.0), 20)
    >>> mixture.limits, mixture.notes
    ((2.0, 19.0), ())
    """

    shares: tuple[Annotated[float, Range(0, 1)], Annotated[float, Range(0, 1)], Annotated[float, Range(0, 1)]]
    means: tuple[Annotated[float, Range(0)], Annotated[float, Range(0)], Annotated[float, Range(0)]]
    widths: tuple[
        Annotated[float, Range(0, open_low=True)],
        Annotated[float, Range(0, open_low=True)],
        Annotated[float, Range(0, open_low=True)],
    ]
    checkpoints: Checkpoints

    @classmethod
    def of(cls, shares: Any, means: Any, widths: Any, checkpoints: int) -> "Mixture":
        """From three numbers each, of any kind, such as arrays."""
        parts: list[Triple] = []
        for name, part in (("shares", shares), ("means", means), ("widths", widths)):
            numbers = [float(number) for number in part]
            if len(numbers) != 3:
                raise ValueError(f"Mixture.{name} must be three numbers, got {len(numbers)}.")
            parts.append((numbers[0], numbers[1], numbers[2]))
        return cls(parts[0], parts[1], parts[2], checkpoints)

    def __post_init__(self) -> None:
        if abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"Mixture.shares must add up to 1, got {self.shares}.")
        if list(self.means) != sorted(self.means) or self.means[2] > self.checkpoints:
            raise ValueError(
                f"Mixture.means must ascend and be at most {self.checkpoints}, the checkpoints, got "
                f"{self.means}."
            )

    def logpdf(self, counts: Any) -> Float64[np.ndarray, " m"]:
        """The logarithm of the density at each count."""
        return selection_split_logpdf(counts, self.shares, self.means, self.widths, self.checkpoints)

    @property
    def limits(self) -> tuple[float, float]:
        """Up to the first a sample is never selected, from the second on always; what is between: sometimes.

        The first is the lowest mean plus its width, the second the highest mean minus its width. If they
        cross, the rule for never comes first.
        """
        return self.means[0] + self.widths[0], self.means[2] - self.widths[2]

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the groups doubtful: components that are empty, and limits that cross."""
        names = ("never", "sometimes", "always")
        found = [
            f"{name} has a share of {share:.1%}: its mean and width say nothing"
            for name, share in zip(names, self.shares, strict=True)
            if share < EMPTY
        ]
        for i in (0, 1):
            both = self.shares[i] >= EMPTY and self.shares[i + 1] >= EMPTY
            if both and self.means[i + 1] - self.means[i] < min(self.widths[i : i + 2]):
                found.append(
                    f"{names[i]} and {names[i + 1]} lie together: what each has of them is arbitrary"
                )
        low, high = self.limits
        if low >= high:
            found.append(f"never goes up to {low:.1f} and always begins at {high:.1f}: never comes first")
        return tuple(found)


def log_densities(
    counts: Float64[np.ndarray, " m"],
    means: Float64[np.ndarray, "*batch j"],
    widths: Float64[np.ndarray, "*batch j"],
    checkpoints: int,
) -> Float64[np.ndarray, "*batch j m"]:
    """The logarithm of the density of each truncated normal at each count. The means are in [0, N_c]."""
    scaled = (counts - means[..., None]) / widths[..., None]
    # The mean is inside, so one bound is below it and one above: this difference loses no digits.
    inside = special.ndtr((checkpoints - means) / widths) - special.ndtr(-means / widths)
    found: Float64[np.ndarray, "*batch j m"] = -(scaled**2) / 2 - np.log(widths * _ROOT * inside)[..., None]
    return found


def sum_of_logs(each: Float64[np.ndarray, "*batch j m"]) -> Float64[np.ndarray, "*batch m"]:
    """The logarithm of the sum of the components; scipy's takes ten times as long for so few numbers."""
    highest = each.max(-2, keepdims=True)
    found: Float64[np.ndarray, "*batch m"] = np.log(np.exp(each - highest).sum(-2)) + highest[..., 0, :]
    return found


def selection_split_logpdf(
    counts: Any, shares: Triple, means: Triple, widths: Triple, checkpoints: int
) -> Float64[np.ndarray, " m"]:
    """The logarithm of the density of three truncated normals, see `Mixture`, at each count (m,).

    Outside [0, checkpoints] it is -inf.

    >>> selection_split_logpdf([0, 21], (1.0, 0.0, 0.0), (0.0, 5.0, 9.0), (1.0, 1.0, 1.0), 20).round(4)
    array([-0.2258,    -inf])

    Raises:
        ValueError: if the parameters are none of a `Mixture`.
    """
    mixture = Mixture.of(shares, means, widths, checkpoints)
    at = np.atleast_1d(np.asarray(counts, dtype=np.float64))
    each = log_densities(at, np.array(mixture.means), np.array(mixture.widths), checkpoints)
    with np.errstate(divide="ignore"):  # a share of 0 adds nothing
        found = sum_of_logs(each + np.log(mixture.shares)[:, None])
    inside: Histogram = np.where((at < 0) | (at > checkpoints), -np.inf, found)
    return inside


def fit_mixture(histogram: Any) -> Mixture:
    """The three truncated normals that fit a histogram of counts best, by maximum likelihood.

    It climbs from a fixed set of starts and takes the highest end, so it gives the same for the same counts.
    The time does not depend on the number of samples.

    Args:
        histogram: how many samples have each count 0, 1, ..., N_c: N_c + 1 numbers >= 0.

    Raises:
        ValueError: if there are fewer than two checkpoints, or all samples have the same count.
    """
    weights = _weights(histogram)
    checkpoints = len(weights) - 1
    check_arguments("fit_mixture", Mixture, {"checkpoints": checkpoints})
    at = np.flatnonzero(weights)
    if len(at) < 2:
        raise ValueError(
            f"fit_mixture needs different counts, but all samples have the count {at[0]} of {checkpoints}: "
            "there is nothing to split. Take a method that leaves samples out."
        )
    used, counts = weights[at], at.astype(np.float64)
    bounds = [(-12, 12)] * 2 + [(0, checkpoints)] * 3 + [(np.log(NARROWEST), np.log(checkpoints))] * 3

    def climb(start: Histogram, steps: int) -> tuple[float, Histogram]:
        given, options = (counts, used, checkpoints), {"maxiter": steps, "ftol": 1e-13, "gtol": 1e-9}
        end = optimize.minimize(_loss, start, given, "L-BFGS-B", jac=True, bounds=bounds, options=options)
        return float(end.fun), end.x

    first = sorted((climb(start, _SHORT) for start in _starts(counts, used, checkpoints)), key=lambda e: e[0])
    best = min((climb(start, _LONG) for _, start in first[:_CLIMBED]), key=lambda end: end[0])[1]
    shares, means, widths = _parts(best)
    order = np.argsort(means, kind="stable")
    return Mixture.of(shares[order], means[order], widths[order], checkpoints)


def _weights(histogram: Any) -> Histogram:
    weights = np.asarray(histogram, dtype=np.float64)
    if weights.ndim != 1 or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.sum() > 0:
        raise ValueError(
            "histogram must be the numbers >= 0 of samples with the counts 0, 1, ..., got "
            f"{histogram!r:.80}. Make it with np.bincount(counts, minlength=checkpoints + 1)."
        )
    shares: Histogram = weights / weights.sum()
    return shares


def _starts(
    counts: Histogram, weights: Histogram, checkpoints: int
) -> Iterator[Float64[np.ndarray, " parameters"]]:
    """Every three of five places over the range, the quantiles, and the ends with the mean; two widths."""
    quantiles = np.interp((0.1, 0.5, 0.9), np.cumsum(weights) - weights / 2, counts)
    ends = (counts[0], float(counts @ weights), counts[-1])
    places = [*combinations(np.linspace(0, checkpoints, 5), 3), tuple(quantiles), ends]
    for means in places:
        for width in (checkpoints / 20, checkpoints / 5):
            widths = np.log(np.clip([width] * 3, NARROWEST, checkpoints))
            yield np.concatenate([[0.0, 0.0], np.asarray(means), widths])


def _parts(x: Float64[np.ndarray, " parameters"]) -> tuple[Histogram, Histogram, Histogram]:
    shares: Histogram = special.softmax(np.concatenate([[0.0], x[:2]]))
    return shares, x[2:5], np.exp(x[5:])


def _loss(
    x: Float64[np.ndarray, " parameters"], counts: Histogram, weights: Histogram, checkpoints: int
) -> tuple[float, Float64[np.ndarray, " parameters"]]:
    """Minus the mean log-likelihood, and its gradient."""
    shares, means, widths = _parts(x)
    each = log_densities(counts, means, widths, checkpoints) + np.log(shares)[:, None]
    total = sum_of_logs(each)
    mine = np.exp(each - total) * weights  # the part of each count that belongs to a component
    scaled = (counts - means[:, None]) / widths[:, None]
    above, below = (checkpoints - means) / widths, -means / widths
    at_above, at_below = (np.exp(-(z**2) / 2) / _ROOT for z in (above, below))
    inside = special.ndtr(above) - special.ndtr(below)
    by_mean = (mine * (scaled / widths[:, None] + ((at_above - at_below) / (widths * inside))[:, None])).sum(
        1
    )
    moved = ((above * at_above - below * at_below) / inside)[:, None]
    by_width = (mine * (scaled**2 - 1 + moved)).sum(1)
    by_share = mine.sum(1) - shares
    return -float(total @ weights), -np.concatenate([by_share[1:], by_mean, by_width])
