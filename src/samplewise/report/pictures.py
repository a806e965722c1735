"""The pictures of an experiment: accuracy against cost, and accuracy during training."""

import re
from pathlib import Path
from statistics import fmean, stdev

from samplewise.report import against_cost, curves
from samplewise.report.against_cost import Point, interval
from samplewise.report.curves import Curve
from samplewise.report.measure import ACCURACY, Measure
from samplewise.report.summary import Row

__all__ = ["PICTURES", "draw", "during", "points"]

PICTURES = ("accuracy-cost.png", "curves.png", "accuracy-seconds.png")
_RUNG = re.compile(r"full(@epochs=\d+)?")


def draw(
    results: list[Row],
    epochs: list[Row],
    order: list[str],
    title: str,
    folder: Path,
    machine: str,
    measure: Measure = ACCURACY,
) -> list[Path]:
    """Write the pictures into `folder` and return their paths.

    Args:
        results: a row for each finished run.
        epochs: a row for each tested epoch of these runs.
        order: the methods.
        title: names the data and the model.
        folder: of the pictures.
        machine: where the runs took place.
        measure: the result that is shown.
    """
    paths = [folder / name for name in PICTURES]
    seeds = sorted({sum(row["method"] == method for row in results) for method in order} - {0})
    about = f"{' or '.join(map(str, seeds))} seed{'s' * (seeds != [1])}, {machine}."
    methods, rungs = points(results, order, measure)
    bars = "Means with 95 % intervals (Student's t) over seeds. " if seeds[-1:] > [1] else ""
    against_cost.draw(
        methods,
        rungs,
        [],
        paths[0],
        title=title,
        result=measure.label,
        highest=measure.most,
        caption=f"{bars}Cost: forwards (1 each) and backwards (2 each). {about}",
    )
    for path, key, label in (
        (paths[1], "share", "cost so far, % of full training"),
        (paths[2], "seconds", "seconds of training and selecting"),
    ):
        curves.draw(
            during(results, epochs, order, key, measure),
            path,
            title=title,
            cost=label,
            result=measure.label,
            caption=f"Means over seeds after each tested epoch. {about}",
        )
    return paths


def points(
    results: list[Row], order: list[str], measure: Measure = ACCURACY
) -> tuple[list[Point], list[Point]]:
    """Mean cost and result of every method with intervals, and of full training of all lengths by cost."""
    found = [point for method in order if (point := _point(method, results, measure))]
    rungs = sorted((one for one in found if _RUNG.fullmatch(one.name)), key=lambda one: one.x)
    return [one for one in found if one not in rungs], rungs


def during(
    results: list[Row], epochs: list[Row], order: list[str], key: str, measure: Measure = ACCURACY
) -> list[Curve]:
    """The curve of every method against `share`, the cost in percent of full training, or another column."""
    wholes = {(row["method"], row["seed"]): row["cost"] / row["cost_share"] for row in results}
    shares = [
        row | {"share": 100 * row["cost"] / wholes[row["method"], row["seed"]]}
        for row in epochs
        if (row["method"], row["seed"]) in wholes
    ]
    return [line for method in order if (line := _curve(shares, method, key, measure))]


def _point(method: str, results: list[Row], measure: Measure = ACCURACY) -> Point | None:
    mine = [row for row in results if row["method"] == method]
    if not mine:
        return None
    accuracy, cost = ([row[key] for row in mine] for key in (measure.key, "cost_share"))
    spreads = (stdev(accuracy), stdev(cost)) if len(mine) > 1 else (None, None)
    return Point(
        method,
        100 * fmean(cost),
        fmean(accuracy),
        100 * interval(spreads[1], len(mine)),
        interval(spreads[0], len(mine)),
    )


def _curve(rows: list[Row], method: str, key: str, measure: Measure = ACCURACY) -> Curve | None:
    mine = [row for row in rows if row["method"] == method]
    epochs = sorted({row["epoch"] for row in mine})
    if not epochs:
        return None
    at = [[row for row in mine if row["epoch"] == epoch] for epoch in epochs]
    accuracy = [[row[measure.key] for row in rows] for rows in at]
    return Curve(
        method,
        [fmean(row[key] for row in rows) for rows in at],
        [fmean(values) for values in accuracy],
        [min(values) for values in accuracy],
        [max(values) for values in accuracy],
    )
