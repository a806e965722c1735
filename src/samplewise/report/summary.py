"""What a folder of runs says about each method: means over seeds, and how far they spread."""

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """One method over all its seeds. Shares are in [0, 1], accuracy is in percent.

    `spread` is the sample standard deviation over seeds, None with one seed. `saved` is the share
    of the ordinary run's wall clock that was saved: measured against `full` with the same seed
    (`given`), against this run's own un-narrowed steps (`estimated`), or `not measured`. Where a
    coreset was scored in a run of its own, `bare_cost_share` and `bare_saved` leave that run out.
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
        """Whether a scoring run is charged."""
        return self.bare_cost_share < self.cost_share


def summarise(results: list[Row], order: list[str]) -> list[Summary]:
    """One summary for each of the methods in `order` that has finished runs."""
    return [
        _summary(method, rows)
        for method in order
        if (rows := [row for row in results if row["method"] == method])
    ]


def _summary(method: str, rows: list[Row]) -> Summary:
    def mean(key: str) -> float:
        return fmean(row[key] for row in rows)

    accuracies = [row["test_accuracy"] for row in rows]
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
    """The share of a run's cost or seconds that is its own, not its scoring run's."""
    own, whole = row.get(f"{what}_without_scoring"), row.get(what)
    return own / whole if own is not None and whole else 1.0
