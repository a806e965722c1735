"""Claims that one method is better than another: what paired runs say about each."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from samplewise.bench.judge.paired import ALPHA, FEWEST, holm, seeds_needed, size, t_interval, t_tests

__all__ = ["Answer", "Said", "answers"]

Said = Literal["holds here", "does not hold here", "not shown", "too few seeds"]
_Pair = TypeVar("_Pair", bound=Hashable)


@dataclass(frozen=True)
class Answer:
    """What the runs say about the claim that one method is better than another."""

    word: Said
    equal: bool
    """Whether the claim does not hold because the difference is shown to be smaller than delta."""
    inside: bool
    """Whether the mean difference is smaller than delta, so that it matters little."""
    seeds: int
    mean: float
    """Mean difference; above 0 if the method that is said to be better is better."""
    interval: tuple[float, float]
    """95 % t interval of the mean difference, not adjusted for the number of comparisons."""
    spread: float | None
    """Standard deviation of the differences over seeds; None with one seed."""
    p: float
    """Two-sided, adjusted by Holm's method."""
    detectable: float
    """The mean difference that these seeds find with power .8 at the level of Holm's first test."""
    needed: int | None
    """The seeds that would find the observed mean difference with this power and level."""


def answers(
    differences: Mapping[_Pair, Float[ndarray, " _"]], delta: float, alpha: float = ALPHA
) -> dict[_Pair, Answer]:
    """The answers to all claims of a study. Its comparisons are one family of tests.

    *holds here*: a two-sided paired t test rejects after Holm's correction, and the mean is above 0.
    *does not hold here*: it rejects with a mean below 0; or two one-sided tests reject a difference of
    `delta` or more, after Holm's correction, and then `equal` is True. Else *not shown*. A standard deviation
    of 0 shows nothing. With fewer than 5 seeds there is no answer.

    Args:
        differences: for each comparison, the results of the method that is said to be better minus those of
            the other one, one number a seed. Higher results are better.
        delta: the smallest difference that matters, in the units of the result.
        alpha: level of the whole family.

    Raises:
        ValueError: if delta or alpha is out of range, or a difference is missing or not finite.

    >>> found = answers({"annealing": np.array([1.1, 0.9, 1.3, 1.0, 0.7, 1.2])}, delta=0.3)
    >>> found["annealing"].word
    'holds here'
    """
    if not delta > 0:
        raise ValueError(f"delta must be > 0, got {delta:g}: it is the smallest difference that matters.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha:g}.")
    for pair, values in differences.items():
        if values.ndim != 1 or not len(values):
            raise ValueError(
                f"the differences of {pair} must be one number a seed, got an array of shape {values.shape}."
            )
        if not np.isfinite(values).all():
            raise ValueError(
                f"the differences of {pair} must be finite, got {values}. A run may have diverged: leave out "
                "the comparison."
            )
    if not differences:
        return {}
    differ, equal = (holm(p).tolist() for p in t_tests(list(differences.values()), delta))
    level = alpha / len(differences)
    return {
        pair: _answer(values, differ[i], equal[i], delta, alpha, level)
        for i, (pair, values) in enumerate(differences.items())
    }


def _answer(values: ndarray, differ: float, equal: float, delta: float, alpha: float, level: float) -> Answer:
    """The answer of one comparison, given its adjusted p-values."""
    mean, n = float(values.mean()), len(values)
    spread = float(np.std(values, ddof=1)) if n > 1 else None
    word: Said = "not shown"
    if n < FEWEST:
        word = "too few seeds"
    elif differ < alpha:
        word = "holds here" if mean > 0 else "does not hold here"
    elif equal < alpha:
        word = "does not hold here"
    return Answer(
        word=word,
        equal=word == "does not hold here" and differ >= alpha,
        inside=abs(mean) < delta,
        seeds=n,
        mean=mean,
        interval=t_interval(values),
        spread=spread,
        p=differ,
        detectable=float("inf") if spread is None else size(n, level) * spread,
        needed=seeds_needed(spread, abs(mean), level) if spread and mean else None,
    )
