"""A plot of accuracy against keep: one line for each method that was run with several shares."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from samplewise.report import curves
from samplewise.report.curves import Curve
from samplewise.report.measure import ACCURACY, Measure
from samplewise.report.page import FULL
from samplewise.report.summary import Row

__all__ = ["draw", "lines"]

Keeps = Mapping[str, tuple[str, float]]
"""For each method the name of its line, and its keep, as `bench.methods.by_keep` gives them."""


def lines(results: Sequence[Row], keeps: Keeps, measure: Measure = ACCURACY) -> list[Curve]:
    """The points of each method that has at least two values of keep, ascending.

    A point is the mean of the measure over the seeds, with the lowest and the highest seed. `full` is the
    last line, over the whole width, if it was run. Empty if no method has two values of keep.

    Args:
        results: rows of finished runs, of one or several run folders with the same data.
        keeps: the name of the line and the keep of each method.
        measure: the result that is shown.

    Raises:
        ValueError: if a method and seed come twice, or the rows are of different data.
    """
    seen = [(row["method"], row["seed"]) for row in results]
    if twice := [key for key in seen if seen.count(key) > 1]:
        raise ValueError(
            f"each method and seed must have one row, but {twice[0][0]}, seed {twice[0][1]} has several. "
            "Leave out one of the run folders."
        )
    if len(sizes := sorted({row["n"] for row in results})) > 1:
        raise ValueError(
            f"all rows must be of the same data, but some runs have {sizes[0]:,} samples and others "
            f"{sizes[-1]:,}. Give the rows of one data set."
        )
    points: dict[str, dict[float, list[float]]] = {}
    for row in results:
        if row["method"] in keeps:
            label, keep = keeps[row["method"]]
            points.setdefault(label, {}).setdefault(keep, []).append(row[measure.key])
    made = [_line(label, sorted(at.items())) for label, at in points.items() if len(at) > 1]
    ordinary = [row[measure.key] for row in results if row["method"] == FULL]
    if made and ordinary:
        made.append(_line(FULL, [(min(min(line.x) for line in made), ordinary), (1.0, ordinary)]))
    return made


def draw(
    results: Sequence[Row], keeps: Keeps, title: str, path: Path, measure: Measure = ACCURACY
) -> Path | None:
    """Draw `lines` into a file and return its path; None if no method has two values of keep."""
    found = lines(results, keeps, measure)
    if not found:
        return None
    curves.draw(
        found,
        path,
        title=title,
        cost="keep",
        result=measure.label,
        caption=caption(results, keeps, measure),
        settled=False,
    )
    return path


def caption(results: Sequence[Row], keeps: Keeps, measure: Measure = ACCURACY) -> str:
    """What a point is, and how many samples and seeds it stands for."""
    drawn = {line.method for line in lines(results, keeps, measure)}
    methods = {method for method, (label, _) in keeps.items() if label in drawn} | {FULL}
    counts = [
        sum(row["method"] == m for row in results) for m in {row["method"] for row in results} & methods
    ]
    few, many = min(counts), max(counts)
    seeds = f"{many} seed{'s' * (many > 1)}" if few == many else f"{few} to {many} seeds"
    what = f"one point: the mean of {seeds}" if many > 1 else "one point: one seed"
    return f"n = {results[0]['n']:,}; {what}; numbers: at the largest keep."


def _line(label: str, points: Sequence[tuple[float, Sequence[float]]]) -> Curve:
    return Curve(
        label,
        [keep for keep, _ in points],
        [fmean(values) for _, values in points],
        [min(values) for _, values in points],
        [max(values) for _, values in points],
    )
