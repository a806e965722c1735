"""A view on the runs of a study: which result counts, at which cost, and the ladder that it gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from samplewise.bench.judge import Ladder
from samplewise.bench.study.cache import Row
from samplewise.bench.study.jobs import FULL
from samplewise.bench.study.plan import Plan

__all__ = ["AXES", "Axis", "held", "ladder_on", "value"]

AXES = {
    "cost": "counted units",
    "cost_without_scoring": "counted units without the scoring run",
    "seconds": "measured seconds",
}


@dataclass(frozen=True)
class Axis:
    """A view on the runs: which result is judged, after which epoch, at which cost.

    Args:
        metric: the result.
        at: "last" or "best" epoch.
        cost: a key of `AXES`.
        sign: 1 if a higher result is better, else -1.
    """

    metric: str
    at: str
    cost: str
    sign: int

    def __str__(self) -> str:
        at = "" if self.at == "last" else " at the best epoch"
        cost = "" if self.cost == "cost" else f", by {AXES[self.cost]}"
        return f"{self.metric}{at}{cost}"


def held(row: Row, at: str) -> Mapping[str, Any] | None:
    """The part of a row with the results after the last or the best epoch; None if it was not tested."""
    return row if at == "last" else row["best"]


def value(row: Row, axis: Axis, split: str = "test") -> float:
    """The result of a run: higher is better, so a loss has its sign changed. NaN if it was not tested."""
    part = held(row, axis.at)
    return axis.sign * float(part[split].get(axis.metric, float("nan"))) if part else float("nan")


def ladder_on(plan: Plan, axis: Axis, seeds: list[int]) -> Ladder | None:
    """The ladder on an axis; None if a result is not finite, or missing."""
    rows = [[plan.row(FULL, epochs, seed) for seed in seeds] for epochs in plan.ladder()]
    known = [[row for row in rung if row is not None] for rung in rows]
    cost = np.array([[row[axis.cost] for row in rung] for rung in known], dtype=np.float64)
    if axis.cost == "seconds":
        # The clock is noisy. An epoch of a seed has one price, so that a longer rung costs more.
        epochs = np.array(plan.ladder(), dtype=np.float64)[:, None]
        cost = epochs * (cost.sum(axis=0) / epochs.sum())
    test = np.array([[value(row, axis) for row in rung] for rung in known])
    validation = np.array([[value(row, axis, "validation") for row in rung] for rung in known])
    if not (np.isfinite(test).all() and np.isfinite(validation).all()):
        return None
    return Ladder(cost, test, validation)
