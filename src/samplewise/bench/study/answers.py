"""What the rows of a study say about its claims."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy import ndarray

from samplewise.bench.judge import Answer, Ladder, answers
from samplewise.bench.judge.paired import t_interval
from samplewise.bench.study.axes import Axis, held, value
from samplewise.bench.study.jobs import FULL, STOPPED
from samplewise.bench.study.plan import Plan

__all__ = ["Answered", "Compared", "answered"]

NONE = "no answer"


@dataclass(frozen=True)
class Compared:
    """A comparison of two methods. Costs are in shares of full training."""

    better: str
    than: str
    answer: Answer | None
    costs: tuple[float, float] | None
    """Of both methods."""
    corrected: float | None
    """Mean difference of what each gains over the ladder at its own cost; None outside the ladder."""
    corrected_interval: tuple[float, float] | None
    """Its 95 % t interval."""
    why: str = ""
    """Why there is no answer."""

    @property
    def word(self) -> str:
        """The answer in a word."""
        return self.answer.word if self.answer else NONE

    @property
    def unequal(self) -> bool:
        """Whether the costs differ by more than 1 %."""
        return self.costs is not None and abs(self.costs[0] - self.costs[1]) > 0.01 * self.costs[1]

    @property
    def dearer(self) -> bool:
        """Whether the method that is said to be better costs more, by more than 1 %."""
        return self.costs is not None and self.unequal and self.costs[0] > self.costs[1]


@dataclass(frozen=True)
class Answered:
    """A claim with its comparisons."""

    says: str
    source: str
    pairs: tuple[Compared, ...]

    @property
    def word(self) -> str:
        """*holds here* if all comparisons do, *does not hold here* if one does; else the first other word."""
        words = [pair.word for pair in self.pairs]
        if "does not hold here" in words:
            return "does not hold here"
        return next((word for word in words if word != "holds here"), "holds here")


@dataclass(frozen=True)
class _Runs:
    """The runs of a method by seed. Gains are results minus the ladder at this cost, NaN outside of it."""

    results: dict[int, float]
    costs: dict[int, float]
    gains: dict[int, float]


def answered(plan: Plan, axis: Axis, ladder: Ladder | None, seeds: Sequence[int]) -> tuple[Answered, ...]:
    """The claims of a study with their answers. All comparisons are one family of tests.

    Args:
        plan: of the study.
        axis: the judged one.
        ladder: on this axis, if it is finished.
        seeds: those of the ladder.
    """
    claims = plan.spec.claims
    pairs = [(claim.better, than) for claim in claims for than in claim.than]
    runs = {name: _runs(plan, axis, ladder, seeds, name) for name in dict.fromkeys(sum(pairs, ()))}
    differences: dict[tuple[str, str], ndarray] = {}
    for pair in pairs:
        values = _paired(runs[pair[0]].results, runs[pair[1]].results)
        if len(values) and np.isfinite(values).all():
            differences[pair] = values
    found = answers(differences, plan.spec.margin)
    whole = (plan.unit() or 1.0) * plan.spec.epochs
    return tuple(
        Answered(
            claim.says,
            claim.source,
            tuple(_compared(claim.better, than, runs, found, whole) for than in claim.than),
        )
        for claim in claims
    )


def _runs(plan: Plan, axis: Axis, ladder: Ladder | None, seeds: Sequence[int], name: str) -> _Runs:
    stopped = name == STOPPED
    axis, method = (replace(axis, at="best"), FULL) if stopped else (axis, name)
    found = _Runs({}, {}, {})
    for seed in range(plan.spec.seeds):
        row = plan.row(method, plan.epochs(method), seed)
        if row is None or not (part := held(row, axis.at)) or "test" not in part:
            continue
        cost = float((part if stopped else row)[axis.cost])
        found.results[seed], found.costs[seed] = value(row, axis), cost
        place = list(seeds).index(seed) if seed in seeds else None
        inside = ladder is not None and place is not None and ladder.covers(place, cost)
        reference = ladder.at(place, cost) if ladder and place is not None and inside else float("nan")
        found.gains[seed] = found.results[seed] - reference
    return found


def _paired(better: dict[int, float], than: dict[int, float]) -> ndarray:
    """The differences of the seeds that both have."""
    return np.array([better[seed] - than[seed] for seed in better if seed in than])


def _compared(
    better: str,
    than: str,
    runs: dict[str, _Runs],
    found: dict[tuple[str, str], Answer],
    whole: float,
) -> Compared:
    answer, mine, other = found.get((better, than)), runs[better], runs[than]
    if answer is None:
        missing = not mine.results.keys() & other.results.keys()
        why = "no seed has results of both yet" if missing else "a run diverged"
        return Compared(better, than, None, None, None, None, why)
    shared = [seed for seed in mine.costs if seed in other.costs]
    costs = tuple(fmean(part.costs[seed] for seed in shared) / whole for part in (mine, other))
    gains = _paired(mine.gains, other.gains)
    known = bool(np.isfinite(gains).all())
    return Compared(
        better,
        than,
        answer,
        (costs[0], costs[1]),
        float(gains.mean()) if known else None,
        t_interval(gains) if known else None,
    )
