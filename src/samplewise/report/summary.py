"""Summaries of the runs in a folder: mean and standard deviation over seeds for each method."""

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from samplewise.report.measure import ACCURACY, Measure

Row = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """One method over all its seeds. Shares are in [0, 1], `accuracy` is the measured result in percent.

    `spread` is the sample standard deviation over seeds, or None with one seed. `saved` is the saved share of
    the wall-clock time of ordinary training. `baseline` is the source of that time: "given" (the `full` run
    with the same seed), "estimated" (from the full steps of the run itself) or "not measured". If a coreset
    has a scoring run, `bare_cost_share` and `bare_saved` do not include it.
    """

    method: str
    seeds: int
    accuracy: float
    spread: float | None
    samples: float
    cost_share: float
    seconds: float
    saved: float | None
    baseline: str
    overhead: float
    bare_cost_share: float
    bare_saved: float | None

    @property
    def scored(self) -> bool:
        """Whether the cost includes a scoring run."""
        return self.bare_cost_share < self.cost_share


def summarise(results: list[Row], order: list[str], measure: Measure = ACCURACY) -> list[Summary]:
    """Return a summary for each method in `order` that has finished runs."""
    return [
        _summary(method, rows, measure)
        for method in order
        if (rows := [row for row in results if row["method"] == method])
    ]


def _summary(method: str, rows: list[Row], measure: Measure) -> Summary:
    def mean(key: str) -> float:
        return fmean(row[key] for row in rows)

    accuracies = [row[measure.key] for row in rows]
    measured = all(row["realised"] is not None for row in rows)
    kinds = {row["baseline"] for row in rows}
    baseline = "not measured"
    if measured:
        baseline = "given" if kinds == {"given"} else "estimated"
    return Summary(
        method=method,
        seeds=len(rows),
        accuracy=fmean(accuracies),
        spread=stdev(accuracies) if len(rows) > 1 else None,
        samples=mean("samples_backpropagated"),
        cost_share=mean("cost_share"),
        seconds=mean("seconds"),
        saved=mean("realised") if measured else None,
        baseline=baseline,
        overhead=mean("overhead"),
        bare_cost_share=fmean(row["cost_share"] * _bare(row, "cost") for row in rows),
        bare_saved=fmean(1 - (1 - row["realised"]) * _bare(row, "seconds") for row in rows)
        if measured
        else None,
    )


def _bare(row: Row, what: str) -> float:
    """The share of a run's cost or seconds without its scoring run."""
    own, whole = row.get(f"{what}_without_scoring"), row.get(what)
    return own / whole if own is not None and whole else 1.0
