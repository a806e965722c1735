"""Verdicts: is a method better than ordinary training of the same cost, worse, as good, or not shown?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from samplewise.bench.judge.paired import (
    ALPHA,
    FEWEST,
    bootstrap,
    holm,
    seeds_needed,
    size,
    t_interval,
    t_tests,
)

__all__ = ["Differences", "Verdict", "Word", "detectable", "judge", "seeds_for"]

Word = Literal["better", "worse", "as good", "not shown", "too few seeds"]


@dataclass(frozen=True)
class Differences:
    """The results of one method minus those of its two controls, one number a seed; higher is better.

    Args:
        ladder: (seeds,) against the ladder of the same seed, at the method's own cost.
        exact: (seeds,) against `full` with the whole number of epochs nearest below the median cost.
    """

    ladder: ndarray
    exact: ndarray

    def __post_init__(self) -> None:
        if self.ladder.shape != self.exact.shape or self.ladder.ndim != 1 or not len(self.ladder):
            raise ValueError(
                "differences need one number a seed for both controls, got shapes "
                f"{self.ladder.shape} and {self.exact.shape}."
            )
        if not (np.isfinite(self.ladder).all() and np.isfinite(self.exact).all()):
            raise ValueError("differences must be finite. A run may have diverged: leave out the method.")


@dataclass(frozen=True)
class Verdict:
    """What a study shows of one method. Differences are those to the ladder, unless it says otherwise."""

    word: Word
    seeds: int
    mean: float
    """Mean difference to the ladder."""
    exact_mean: float
    """Mean difference to the exact control."""
    interval: tuple[float, float]
    """95 % t interval of the mean difference, not adjusted for the number of methods."""
    bootstrap: tuple[float, float] | None
    """95 % bootstrap interval of the mean, from 10 seeds on."""
    above: float
    """P(method > ladder): the share of seeds above, with ties half."""
    detectable: float
    """The mean difference to both controls that this study finds with power .8, in view of all its tests."""
    p: float
    """The larger of the adjusted p-values against ladder and exact control, two-sided."""
    inside: bool
    """Whether the mean difference is smaller than delta, so that better or worse matters little."""
    spread: float | None = None
    """Standard deviation of the differences over seeds; None with one seed."""


def judge(found: Mapping[str, Differences], delta: float, alpha: float = ALPHA) -> dict[str, Verdict]:
    """The verdicts of a study, whose methods and grid points are one family of tests.

    *better*: two-sided paired t tests against both controls reject after Holm's correction, and both means
    are above 0. *worse*: one of them rejects with a mean below 0. *as good*: neither, and two one-sided tests
    against both controls reject a difference of `delta` or more, after Holm's correction. Else *not shown*.
    A standard deviation of 0 shows nothing. With fewer than 5 seeds there is no verdict.

    Args:
        found: the differences of every method.
        delta: the smallest difference that matters, in the units of the result.
        alpha: level of the whole family.

    Raises:
        ValueError: if delta or alpha is out of range.
    """
    if not delta > 0:
        raise ValueError(f"delta must be > 0, got {delta:g}. The default is 0.3 points of accuracy.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha:g}.")
    if not found:
        return {}
    values = [control for part in found.values() for control in (part.ladder, part.exact)]
    differ, equal = (holm(p).reshape(-1, 2).tolist() for p in t_tests(values, delta))
    return {
        name: _verdict(part, differ[i], equal[i], delta, alpha, len(found))
        for i, (name, part) in enumerate(found.items())
    }


def detectable(values: Float[ndarray, " seeds"], methods: int, alpha: float = ALPHA) -> float:
    """The mean difference that a paired t test finds with power .8, in a family of two tests a method.

    With 12 methods about 4 standard deviations with 5 seeds, and 1.7 with 10 seeds.
    """
    n = len(values)
    if n < 2:
        return float("inf")
    return size(n, _level(methods, alpha)) * float(np.std(values, ddof=1))


def seeds_for(spread: float, difference: float, methods: int, alpha: float = ALPHA) -> int:
    """The number of seeds with which such a test finds a difference with power .8.

    Args:
        spread: standard deviation of the differences over seeds.
        difference: the mean difference to find, > 0.
        methods: those of the family.
        alpha: level of the whole family.

    >>> seeds_for(spread=1.0, difference=1.5, methods=12)
    12
    """
    return seeds_needed(spread, difference, _level(methods, alpha))


def _level(methods: int, alpha: float) -> float:
    """The level of Holm's first test: every method has a test against each of its two controls."""
    return alpha / (2 * methods)


def _of_both(part: Differences, methods: int, alpha: float) -> float:
    """The detectable difference to both controls, whose spreads count alike."""
    sizes = [detectable(values, methods, alpha) for values in (part.ladder, part.exact)]
    return math.hypot(*sizes) / math.sqrt(2)


def _verdict(
    part: Differences,
    differ: list[float],
    equal: list[float],
    delta: float,
    alpha: float,
    methods: int,
) -> Verdict:
    """The verdict of one method, given its adjusted p-values against both controls."""
    means = float(part.ladder.mean()), float(part.exact.mean())
    word: Word = "not shown"
    if len(part.ladder) < FEWEST:
        word = "too few seeds"
    elif max(differ) < alpha and min(means) > 0:
        word = "better"
    elif any(p < alpha and mean < 0 for p, mean in zip(differ, means, strict=True)):
        word = "worse"
    elif max(equal) < alpha:
        word = "as good"
    ties = float((part.ladder == 0).mean())
    return Verdict(
        word=word,
        seeds=len(part.ladder),
        mean=means[0],
        exact_mean=means[1],
        interval=t_interval(part.ladder),
        bootstrap=bootstrap(part.ladder),
        above=float((part.ladder > 0).mean()) + ties / 2,
        detectable=_of_both(part, methods, alpha),
        p=max(differ),
        inside=abs(means[0]) < delta,
        spread=float(np.std(part.ladder, ddof=1)) if len(part.ladder) > 1 else None,
    )
