"""Results against cost: every method as a point with its intervals, above a band of full training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from samplewise.checks import require
from samplewise.report.labels import place
from samplewise.report.page import FAINT, INK, Style, frame, page, short, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Point", "draw", "interval", "rungs_near"]

_SEEN = 0.04
"""The share of the axes that is left free around the data."""


@dataclass(frozen=True)
class Point:
    """A method: mean cost in percent of full training, mean result, and half the widths of the intervals."""

    name: str
    x: float
    y: float
    x_half: float = 0.0
    y_half: float = 0.0
    note: str = ""
    """A word that is written after the name."""


def interval(spread: float | None, seeds: int) -> float:
    """Half the width of the 95 % interval of a mean by Student's t; 0 with one seed.

    Args:
        spread: sample standard deviation over seeds.
        seeds: their number.
    """
    if spread is None or seeds < 2 or not isfinite(spread):
        return 0.0
    return float(require("scipy.stats", "bench").t.ppf(0.975, seeds - 1)) * spread / float(np.sqrt(seeds))


def draw(
    methods: Sequence[Point],
    full: Sequence[Point],
    controls: Sequence[Point],
    path: Path,
    *,
    title: str,
    result: str,
    said: str = "",
    caption: str = "",
    highest: float = inf,
) -> "Figure":
    """Write the picture.

    Args:
        methods: each with a marker and its name.
        full: full training of all lengths, in order of cost. With two or more they are a band.
        controls: small grey marks, named in the legend by what stands before a `:`.
        path: of the file.
        title: of the picture.
        result: label of the vertical axis.
        said: a sentence below the title.
        caption: what is drawn.
        highest: no result is above it, so the axis ends there. Intervals may go beyond.

    Returns:
        the figure that was written.
    """
    figure = page(8.2, 4.9, title, said, caption)
    axes = figure.add_subplot()
    methods, controls = _finite(methods), _finite(controls)
    rungs = rungs_near(_finite(full), [*methods, *controls])
    looks = styles([point.name for point in methods])
    _full(axes, rungs)
    _controls(axes, controls)
    for point in methods:
        _method(axes, point, looks[point.name])
    _limits(axes, [*rungs, *methods, *(replace(p, x_half=0.0, y_half=0.0) for p in controls)], highest)
    frame(axes)
    axes.set_xlabel("cost, % of full training", color=INK, fontsize=9.5)
    axes.set_ylabel(result, color=INK, fontsize=9.5, parse_math=False)
    if axes.get_legend_handles_labels()[0]:
        falls = len(rungs) > 1 and rungs[-1].y < rungs[0].y  # as a loss does
        axes.legend(
            loc="upper right" if falls else "lower right",
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            handletextpad=0.5,
        )
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    named = methods if len(rungs) > 1 else [*rungs, *methods]
    names = [short(point.name, 40) + (f": {point.note}" if point.note else "") for point in named]
    anchors = np.array([(point.x, point.y) for point in named]).reshape(-1, 2)
    place(axes, names, anchors, _taken(axes, rungs, controls, methods))
    figure.savefig(path)
    return figure


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if isfinite(point.x) and isfinite(point.y)]


def rungs_near(rungs: Sequence[Point], points: Sequence[Point]) -> Sequence[Point]:
    """The rungs from the last one below all points on: cheaper ones would leave no room for differences."""
    if not points:
        return rungs
    cheapest = min(point.x for point in points)
    below = [rung for rung in rungs if rung.x <= cheapest]
    return [*below[-1:], *(rung for rung in rungs if rung.x > cheapest)]


def _full(axes: "Axes", rungs: Sequence[Point]) -> None:
    x = [rung.x for rung in rungs]
    if len(rungs) > 1:
        low, high = ([rung.y + side * rung.y_half for rung in rungs] for side in (-1, 1))
        axes.fill_between(x, low, high, color="#d4d4d4", linewidth=0, zorder=1)
        axes.plot(
            x, [rung.y for rung in rungs], color=INK, linewidth=1.3, marker="o", markersize=3.5, zorder=2,
            label="full training",
        )  # fmt: skip
    elif rungs:
        _bars(axes, rungs[0], INK)
        axes.plot(x, [rungs[0].y], "o", color=INK, markersize=7, zorder=3)


def _controls(axes: "Axes", controls: list[Point]) -> None:
    families: dict[str, list[Point]] = {}
    for point in controls:
        families.setdefault(point.name.partition(":")[0], []).append(point)
    for (family, points), marker in zip(families.items(), "v^<>dph*" * len(families), strict=False):
        for point in points:
            _bars(axes, point, FAINT, width=0.8)
        axes.plot(
            [p.x for p in points], [p.y for p in points], linestyle="none", marker=marker, markersize=5,
            color="white", markeredgecolor="#5a5a5a", markeredgewidth=1, zorder=3, label=family,
        )  # fmt: skip


def _method(axes: "Axes", point: Point, style: Style) -> None:
    _bars(axes, point, style.colour, width=1.4)
    axes.plot(
        point.x, point.y, marker=style.marker, color=style.colour, markersize=7, markeredgecolor="white",
        markeredgewidth=0.8, zorder=4,
    )  # fmt: skip


def _bars(axes: "Axes", point: Point, colour: str, width: float = 1.2) -> None:
    axes.errorbar(
        point.x, point.y, xerr=point.x_half or None, yerr=point.y_half or None, fmt="none", ecolor=colour,
        elinewidth=width, capsize=2.2, zorder=2.8,
    )  # fmt: skip


def _limits(axes: "Axes", points: list[Point], highest: float) -> None:
    """From no cost on, and around all results and intervals. Those of controls may go beyond."""
    if not points:
        return
    axes.set_xlim(0, max(1.06 * max(p.x + p.x_half for p in points), 1e-9))
    low, high = min(p.y - p.y_half for p in points), max(p.y + p.y_half for p in points)
    room = max(_SEEN * (high - low), 1e-3 * abs(high), 1e-9)
    axes.set_ylim(low - room, min(high, highest) + room)


def _taken(
    axes: "Axes", rungs: Sequence[Point], controls: Sequence[Point], methods: Sequence[Point]
) -> ndarray:
    """Boxes in pixels around everything that names must not cover."""
    points = [*rungs, *controls, *methods]
    centres = axes.transData.transform(np.array([(p.x, p.y) for p in points]).reshape(-1, 2))
    low = axes.transData.transform(
        np.array([(p.x - p.x_half, p.y - p.y_half) for p in points]).reshape(-1, 2)
    )
    high = axes.transData.transform(
        np.array([(p.x + p.x_half, p.y + p.y_half) for p in points]).reshape(-1, 2)
    )
    mark = 8.0
    boxes = [np.concatenate([centres - mark, centres + mark], 1)]
    for axis in (0, 1):  # the bars
        bar = np.concatenate([low, high], 1)
        bar[:, [1 - axis, 3 - axis]] = centres[:, [1 - axis]] + np.array([-2, 2])
        boxes.append(bar)
    if len(rungs) > 1:
        along = np.linspace(centres[0, 0], centres[len(rungs) - 1, 0], 80)
        line = np.stack([along, np.interp(along, *centres[: len(rungs)].T)], 1)
        boxes.append(np.concatenate([line - 3, line + 3], 1))
    legend = axes.get_legend()
    if legend is not None:
        boxes.append(np.array(legend.get_window_extent().extents).reshape(1, 4))
    return np.concatenate(boxes)
