"""The work of `samplewise analyse keep`, `heat` and `published`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samplewise.analysis import (
    Beside,
    Comparison,
    Grid,
    Published,
    Result,
    accuracy_by_keep,
    beside_published,
    over_two,
)
from samplewise.analysis.pictures import heat as heat_picture
from samplewise.analysis.pictures import published as published_picture
from samplewise.analysis.results import keep_rows
from samplewise.bench.collected import collected
from samplewise.bench.study.jobs import canonical
from samplewise.cli.analyse.common import folder_for, show, write_json
from samplewise.cli.analyse.numbers import read_published
from samplewise.cli.console import terminal
from samplewise.coresets.parse import items
from samplewise.files.atomic import replacing
from samplewise.report import keep as keep_picture
from samplewise.report.drawing import grid as drawn
from samplewise.report.page import FULL

_PERCENT = ("accuracy", "worst_class", "top5_accuracy")


def keep(runs: Sequence[Path], out: Path | None, force: bool) -> None:
    """Draw accuracy against keep, and write and print its points."""
    results = collected(runs)
    lines = accuracy_by_keep(results)
    files = ("keep.json", "accuracy-keep.png")
    with folder_for("keep", out, force, files) as folder:
        points = [
            {"method": line.method, "keep": x, "mean": mean, "low": low, "high": high}
            for line in lines
            for x, mean, low, high in zip(line.x, line.mean, line.low, line.high, strict=True)
        ]
        write_json(folder / files[0], {"runs": [str(path) for path in runs], "points": points})
        title = f"Accuracy against keep: {', '.join(path.name or str(path) for path in runs)}"
        keep_picture.draw(*keep_rows(results), title, folder / files[1])
    rows = []
    for point in points:
        if point["method"] == FULL and point["keep"] != 1:
            continue  # the picture draws full training over the whole axis: one row of it is enough
        accuracy = f"{point['mean']:.2f} ({point['low']:.2f} to {point['high']:.2f})"
        rows.append((str(point["method"]), f"{point['keep']:g}", accuracy))
    title = "test accuracy, %: mean (lowest to highest seed)"
    mean, method, x = max(
        (mean, line.method, x) for line in lines for x, mean in zip(line.x, line.mean, strict=True)
    )
    said = (
        f"The highest mean is {mean:.2f} %, of {method} at keep = {x:g}. This is no verdict: samplewise "
        "bench judges methods at the same cost."
    )
    tables = drawn(("method", "keep", "accuracy"), rows, terminal().width, title)
    show(tables, said, [folder / name for name in files])


def heat(
    runs: Sequence[Path],
    x: str,
    y: str,
    recipe: str | None,
    where: Sequence[str],
    metric: str,
    out: Path | None,
    force: bool,
) -> None:
    """Draw a heat map over two parameters, and write and print its cells."""
    pairs = {key: value for text in where for key, value in items(text, text, "--where key=value")}
    grid = over_two(collected(runs, metric), x, y, recipe=recipe, where=pairs)
    files = ("heat.json", "heat.png")
    digits = 1 if metric in _PERCENT else 3
    with folder_for("heat", out, force, files) as folder:
        write_json(
            folder / files[0],
            {
                "recipe": grid.recipe,
                "metric": metric,
                x: list(grid.xs),
                y: list(grid.ys),
                "mean": grid.mean.tolist(),
                "spread": grid.spread.tolist(),
                "seeds": grid.seeds.tolist(),
                "fixed": {key: repr(value) for key, value in grid.fixed.items()},
            },
        )
        with replacing(folder / files[1]) as file:
            _heat_picture(grid, metric, digits, file)
    rows = [[f"{value:g}", *row] for value, row in zip(grid.ys, _cells(grid, digits, " ± "), strict=True)]
    heads, title = (
        [f"{y} \\ {x}", *map("{:g}".format, grid.xs)],
        f"{grid.recipe}: test {metric}, mean over seeds",
    )
    tables = drawn(heads, rows, terminal().width, title)
    show(tables, _extremes(grid, metric, digits), [folder / name for name in files])


def _extremes(grid: Grid, metric: str, digits: int) -> str:
    """Where the highest and the lowest cell are, in a sentence."""
    said = []
    for word, find in (("highest", np.nanargmax), ("lowest", np.nanargmin)):
        row, column = np.unravel_index(int(find(grid.mean)), grid.mean.shape)
        where = f"{grid.x} = {grid.xs[column]:g} and {grid.y} = {grid.ys[row]:g}"
        said.append(f"the {word} is {grid.mean[row, column]:.{digits}f} at {where}")
    return f"Of the means of test {metric}, {said[0]}; {said[1]}."


def _heat_picture(grid: Grid, metric: str, digits: int, file: Any) -> None:
    fixed = ", ".join(f"{key}={value}" for key, value in grid.fixed.items())
    few, many = int(grid.seeds[grid.seeds > 0].min()), int(grid.seeds.max())
    seeds = f"{many} seed{'s' * (many > 1)}" if few == many else f"{few} to {many} seeds"
    unit = ", %" if metric in _PERCENT else ""
    heat_picture.draw(
        grid.mean[::-1],
        [f"{value:g}" for value in reversed(grid.ys)],
        [f"{value:g}" for value in grid.xs],
        file,
        title=f"{grid.recipe}: test {metric}{unit}",
        said=f"All other parameters are the same: {fixed}." if fixed else "",
        caption=f"Mean{' ± standard deviation' if many > 1 else ''} of {seeds} in each cell.",
        cells=_cells(grid, digits, "\n± ")[::-1],
        vertical=grid.y,
        horizontal=grid.x,
        digits=digits,
    )


def _cells(grid: Grid, digits: int, mark: str) -> list[list[str]]:
    """The mean and the spread of every cell as text; a dash where there is no run."""
    found = []
    for means, spreads in zip(grid.mean, grid.spread, strict=True):
        found.append(
            [
                "-" if np.isnan(m) else f"{m:.{digits}f}" + ("" if np.isnan(s) else f"{mark}{s:.{digits}f}")
                for m, s in zip(means, spreads, strict=True)
            ]
        )
    return found


def published(
    numbers: Path, runs: Sequence[Path], reference: str | None, metric: str, out: Path | None, force: bool
) -> None:
    """Compare published numbers with the means of our runs."""
    entries, noted = read_published(numbers, metric)
    results = collected(runs or [numbers], metric)
    base = reference if reference is not None else noted
    told = [_row(entry, results) for entry in entries]
    named = {str(entry["method"]): row.method for entry, row in zip(entries, told, strict=True)}
    found = beside_published(told, None if base is None else named.get(base, base))
    files = ("published.json", "published.png")
    unit = " (percentage points)" if metric in _PERCENT else ""
    of = f"test {metric}" + (f", difference to {found.reference}{unit}" if found.reference else "")
    with folder_for("published", out, force, files) as folder:
        write_json(folder / files[0], _plain(found, numbers, runs, metric))
        with replacing(folder / files[1]) as file:
            published_picture.draw(
                found, file, title="Published numbers beside ours", result=of, said=_said(found)
            )
    digits = 2 if metric in _PERCENT else 4
    heads = ("method", "setting", "published", "ours", "95 % interval", "ours - published", "source")
    rows = [(one.row.method, one.row.setting, *_numbers(one, digits), one.row.source) for one in found.rows]
    tables = drawn(heads, rows, terminal().width, of, words=("setting", "source"))
    show(tables, _said(found), [folder / name for name in files])


def _row(entry: dict[str, Any], results: Sequence[Result]) -> Published:
    """A published number, with our results for the same method in the order of the seeds."""
    ours = sorted((one.seed, one.value) for one in results if _same(one.method, entry["method"]))
    if len({seed for seed, _ in ours}) < len(ours):
        raise ValueError(
            f"{entry['method']} has several runs of one seed. Give the folders of one setting only."
        )
    return Published(
        method=entry.get("name") or entry["method"],
        setting=entry.get("setting", ""),
        published=float(entry["value"]),
        source=entry["source"],
        ours=[value for _, value in ours],
        spread=entry.get("spread"),
    )


def _same(one: str, other: str) -> bool:
    """Whether two texts are of the same method. One that is not a method of ours is only equal to itself."""
    try:
        return canonical(one) == canonical(other)
    except (ValueError, TypeError, OSError):
        return one == other


def _numbers(one: Beside, digits: int) -> tuple[str, ...]:
    def text(value: float | None, sign: str = "") -> str:
        return "" if value is None else f"{value:{sign}.{digits}f}"

    spread = "" if one.row.spread is None else f" ± {one.row.spread:g}"
    ours = "not run" if one.mean is None else text(one.mean)
    interval = "" if one.low is None else f"{text(one.low)} to {text(one.high)}"
    return f"{text(one.theirs)}{spread}", ours, interval, text(one.difference, "+")


def _said(found: Comparison) -> str:
    """What was compared, and whether the methods are in the same order, in words."""
    run = sum(one.mean is not None for one in found.rows)
    said = f"{run} of {len(found.rows)} published numbers have runs of ours."
    known = {name: rho for name, rho in found.agreement.items() if not np.isnan(rho)}
    if known:
        orders = "; ".join(f"{name or 'all'}: {rho:+.2f}" for name, rho in known.items())
        said += f" Rank correlation of the methods: {orders}."
    return said


def _plain(found: Comparison, numbers: Path, runs: Sequence[Path], metric: str) -> dict[str, Any]:
    return {
        "numbers": str(numbers),
        "runs": [str(path) for path in runs],
        "metric": metric,
        "reference": found.reference,
        "rank_correlation": dict(found.agreement),
        "rows": [
            {
                "setting": one.row.setting,
                "method": one.row.method,
                "source": one.row.source,
                "published": one.theirs,
                "published_spread": one.row.spread,
                "ours": one.mean,
                "low": one.low,
                "high": one.high,
                "difference": one.difference,
                "seeds": len(one.row.ours),
            }
            for one in found.rows
        ],
    }
