"""Distributions of scores as numbers: bins, quantiles, and the middle of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from samplewise.coresets.table import ScoreTable

__all__ = ["ClassRow", "Distribution", "by_class", "distribution"]

BINS = 50
SHOWN = (0.001, 0.999)
"""The quantiles that the bins lie between."""
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Distribution:
    """One score over all samples.

    Attributes:
        edges: of the bins (BINS + 1,).
        counts: samples in each bin (BINS,).
        beyond: samples outside all bins.
        unseen: samples without a number: never observed.
        quantiles: at `QUANTILES`.
    """

    edges: Float[np.ndarray, " e"]
    counts: Int64[np.ndarray, " b"]
    beyond: int
    unseen: int
    quantiles: Sequence[float]


@dataclass(frozen=True)
class ClassRow:
    """One class: its number, its samples, how often they were selected, and the middle of their score."""

    label: int
    samples: int
    times: float
    never: int
    median: float


def distribution(values: np.ndarray) -> Distribution | None:
    """The distribution of a column (n,); None if it has no finite number."""
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return None
    quantiles = np.quantile(known, [*SHOWN, *QUANTILES])
    low, high = float(quantiles[0]), float(quantiles[1])
    if not low < high:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(known, BINS, (low, high))
    inside = int(counts.sum())
    return Distribution(
        edges,
        counts.astype(np.int64),
        len(known) - inside,
        len(values) - len(known),
        quantiles[len(SHOWN) :].tolist(),
    )


def by_class(table: ScoreTable, column: str | None) -> list[ClassRow]:
    """A row for each class that has samples; none without labels.

    Args:
        table: of a run.
        column: the score whose median is taken.
    """
    if table.labels is None:
        return []
    labels, times = table.labels.numpy(), table.times_selected.numpy()
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    values = None if column is None else table.columns[column].double().numpy()
    found = []
    for part in np.split(order, starts[1:]):
        if not len(part):
            continue
        mine = np.zeros(0) if values is None else values[part]
        mine = mine[np.isfinite(mine)]
        median = float(np.median(mine)) if len(mine) else float("nan")
        never = int((times[part] == 0).sum())
        found.append(ClassRow(int(labels[part[0]]), len(part), float(times[part].mean()), never, median))
    return found
