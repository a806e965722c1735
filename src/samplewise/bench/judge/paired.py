"""Student's t for paired differences: tests, Holm's correction, intervals, and the seeds that are needed."""

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from samplewise.checks import require

__all__ = [
    "ALPHA",
    "FEWEST",
    "POWER",
    "bootstrap",
    "holm",
    "needs",
    "seeds_needed",
    "size",
    "t_interval",
    "t_tests",
]

_STATS, _POWER = "scipy.stats", "statsmodels.stats.power"
_MULTITEST = "statsmodels.stats.multitest"

ALPHA = 0.05
"""Level of the tests of a whole study."""
POWER = 0.8
"""Power that the detectable difference refers to."""
FEWEST = 5
"""Seeds that a verdict needs at least."""
_BOOTSTRAP_FROM = 10
"""Seeds from which on a bootstrap interval is given; with fewer it is too narrow."""
_ROUNDING = 1e-12
"""Values that vary by less than this share of their size do not vary."""


def needs() -> None:
    """Raise if a package that judges is missing, before the runs."""
    for name in (_STATS, _POWER, _MULTITEST):
        _package(name)


def t_tests(values: Sequence[ndarray], delta: float) -> tuple[ndarray, ndarray]:
    """P of two-sided one-sample t tests of mean 0, and of two one-sided tests of a mean within `delta`.

    All are one-sided tests of the values or the mirrored values. So they take one call of scipy, which is
    slow to start. P is 1 where the values do not vary.
    """
    both = [*values, *(-part for part in values)]
    bounds = np.repeat([0.0, -delta], len(both))
    above, below, low, high = _above([*both, *both], bounds).reshape(4, -1)
    return np.minimum(1.0, 2 * np.minimum(above, below)), np.maximum(low, high)


def holm(p: Float[ndarray, " tests"]) -> Float[ndarray, " tests"]:
    """p-values adjusted by Holm's step-down method over the whole family."""
    with _cheap_collection():
        adjusted: ndarray = _package(_MULTITEST).multipletests(p, method="holm")[1]
    return adjusted


@lru_cache
def size(n: int, level: float) -> float:
    """The mean that a two-sided t test of n values finds with power .8, in standard deviations."""
    return float(np.squeeze(_package(_POWER).TTestPower().solve_power(nobs=n, alpha=level, power=POWER)))


def seeds_needed(spread: float, difference: float, level: float) -> int:
    """The number of values, at least 5, with which a two-sided t test finds a mean with power .8.

    Args:
        spread: standard deviation of the values.
        difference: the mean to find, > 0.
        level: of the test.
    """
    if size(FEWEST, level) * spread <= difference:
        return FEWEST
    power = _package(_POWER).TTestPower()
    found = power.solve_power(effect_size=difference / spread, alpha=level, power=POWER)
    return math.ceil(float(np.squeeze(found)))


def t_interval(values: Float[ndarray, " seeds"]) -> tuple[float, float]:
    """The 95 % interval of the mean by Student's t; infinite with one seed."""
    if len(values) < 2:
        return -float("inf"), float("inf")
    half = _quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean - half, mean + half


def bootstrap(values: Float[ndarray, " seeds"]) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean of resampled seeds; None with few seeds."""
    if len(values) < _BOOTSTRAP_FROM:
        return None
    rng = np.random.default_rng(0)
    resampled = _package(_STATS).bootstrap((values,), np.mean, method="percentile", random_state=rng)
    found = resampled.confidence_interval
    return float(found.low), float(found.high)


def _package(name: str) -> Any:
    """A module that takes more than a second to import, imported when it is first used."""
    return require(name, "bench")


@contextmanager
def _cheap_collection() -> Iterator[None]:
    """Let a full garbage collection skip all objects so far: multipletests makes one a call, in 0.2 s."""
    mine = not gc.get_freeze_count()
    if mine:
        gc.freeze()
    try:
        yield
    finally:
        if mine:
            gc.unfreeze()


def _above(values: Sequence[ndarray], bounds: ndarray) -> ndarray:
    """P of means above bounds by one-sample t tests. Values of one length are tested in one call."""
    p = np.ones(len(values))
    varying = [i for i, part in enumerate(values) if _varies(part)]
    for n in {len(values[i]) for i in varying}:
        places = [i for i in varying if len(values[i]) == n]
        rows, least = np.stack([values[i] for i in places]), bounds[places, None]
        p[places] = _package(_STATS).ttest_1samp(rows, least, axis=1, alternative="greater").pvalue
    return p


def _varies(values: ndarray) -> bool:
    """Whether the values differ by more than a rounding error. Without this, a test would show anything."""
    return len(values) >= 2 and bool(np.std(values) > _ROUNDING * np.abs(values).max())


@lru_cache
def _quantile(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t."""
    return float(_package(_STATS).t.ppf(1 - ALPHA / 2, freedom))
