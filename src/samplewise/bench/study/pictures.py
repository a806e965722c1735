"""The pictures of a study: results against cost, differences with their intervals, and curves."""

from pathlib import Path

from samplewise.bench.study import table
from samplewise.bench.study.results import Kind, Line, Results
from samplewise.report import against_cost, curves, forest
from samplewise.report.against_cost import Point, interval
from samplewise.report.page import FULL

__all__ = ["PICTURES", "about", "curves_of", "differences", "draw", "label", "points", "said"]

PICTURES = ("accuracy-cost.png", "differences.png", "curves.png")


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the pictures that the finished runs allow, and return their paths.

    The picture of differences needs verdicts, or numbers of at least two seeds.
    """
    paths = [folder / name for name in PICTURES]
    _against_cost(results, paths[0])
    found = differences(results)
    if found:
        _forest(results, found, paths[1])
    else:
        paths[1].unlink(missing_ok=True)
    _curves(results, paths[2])
    return [path for path in paths if path.exists()]


def _against_cost(results: Results, path: Path) -> None:
    against_cost.draw(
        points(results, "method"),
        points(results, "ladder"),
        points(results, "control"),
        path,
        title=table.heading(results),
        result=label(results, "test"),
        said=said(results),
        caption=f"Means over seeds with 95 % intervals (Student's t), which are those of each mean alone. "
        "Verdicts come from paired differences. Lengths of full training that are cheaper than every point "
        f"are left out. {about(results)}",
    )


def points(results: Results, kind: Kind) -> list[Point]:
    """Cost and result of every line of a kind that has one."""
    return [point for line in results.of(kind) if (point := _point(line, results))]


def _point(line: Line, results: Results) -> Point | None:
    held = (line.results if results.axis.at == "last" else line.best).get(results.axis.metric)
    if held is None:
        return None
    word = line.verdict.word if line.verdict is not None and line.kind == "method" else ""
    return Point(
        results.shown(line.name),
        100 * line.cost,
        held[0],
        100 * interval(line.cost_spread, line.seeds),
        interval(held[1], line.seeds),
        word if word in ("better", "worse", "as good") else "",
    )


def differences(results: Results) -> list[forest.Difference]:
    """The paired differences of all methods and controls that have verdicts of at least two seeds."""
    found = []
    for line in (*results.of("method"), *results.of("control")):
        verdict = line.verdict
        if verdict is None or verdict.seeds < 2:
            continue
        inside = verdict.inside and verdict.word in ("better", "worse")
        found.append(
            forest.Difference(
                results.shown(line.name),
                verdict.mean,
                *verdict.interval,
                verdict.exact_mean,
                verdict.word,
                "inside delta" if inside else "",
                line.kind == "control",
            )
        )
    return found


def _forest(results: Results, found: list[forest.Difference], path: Path) -> None:
    better = "lower" if results.axis.sign < 0 else "higher"
    forest.draw(
        found,
        results.delta,
        path,
        title=f"{table.heading(results)}: against full of the same cost",
        result=f"difference of test {results.axis.metric}, right is better ({better} {results.axis.metric})",
        said=said(results),
        caption="Mean paired difference to the ladder with its 95 % interval (Student's t), not adjusted for "
        "the number of methods. Verdicts are adjusted. Upright mark: difference to full training with the "
        f"whole number of epochs nearest below. Shaded: smaller than delta = {results.delta:g}. "
        f"{about(results)}",
    )


def _curves(results: Results, path: Path) -> None:
    curves.draw(
        curves_of(results),
        path,
        title=f"{table.heading(results)}: during training",
        cost="cost so far, % of full training",
        result=label(results, "validation"),
        said=said(results),
        caption=f"Means over seeds after each tested epoch, on validation data. {about(results)}",
        digits=table.places(results.delta),
    )


def curves_of(results: Results) -> list[curves.Curve]:
    """The validation results of full training and of every method, against cost in percent."""
    whole = [line for line in results.of("ladder") if line.epochs == results.epochs]
    lines = [(FULL, line) for line in whole]
    lines += [(results.shown(line.name), line) for line in results.of("method")]
    return [
        curves.Curve(name, [100 * cost for cost, _ in line.curve], [value for _, value in line.curve])
        for name, line in lines
        if line.curve
    ]


def label(results: Results, split: str) -> str:
    """The judged result in words."""
    at = " (best epoch)" if results.axis.at == "best" and split == "test" else ""
    return f"{split} {results.axis.metric}{at}"


def said(results: Results) -> str:
    """The question of the study, and what its ladder says about the task."""
    return f"{results.question} {results.about_the_task}".strip()


def about(results: Results) -> str:
    """Samples, seeds, machines, and what is missing, in a sentence."""
    counts = sorted({line.seeds for line in results.lines})
    ends = " to ".join(map(str, dict.fromkeys(counts[:1] + counts[-1:])))
    seeds = "1 seed, so no intervals" if counts == [1] else f"{ends} seeds"
    missing = f" {results.missing} runs are not finished." if results.missing else ""
    machine = "; ".join(results.machines)
    return f"{results.n:,} training samples, {seeds}, {machine}, task {results.task}.{missing}"
