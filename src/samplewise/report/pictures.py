"""Two plots of an experiment: accuracy over back-propagated samples, and over seconds."""

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from samplewise.checks import require
from samplewise.report.summary import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#2b2b2b", "#8a8a8a"
# The colours of Okabe and Ito, which colour-blind readers can distinguish. Yellow is left out: it is too
# pale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# With more methods than this, bands would cover each other and are not drawn.
BANDS = 6
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))

PICTURES = {
    "accuracy-samples": ("samples_backpropagated", "samples back-propagated"),
    "accuracy-seconds": ("seconds", "seconds of training and selecting"),
}


@dataclass(frozen=True)
class Line:
    """One method after each epoch: the mean over seeds, the lowest and the highest seed."""

    method: str
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def draw(curves: list[Row], order: list[str], title: str, folder: Path) -> list[Path]:
    """Write both plots into `folder` and return their paths."""
    require("matplotlib", "report")
    written = []
    for name, (key, label) in PICTURES.items():
        lines = [line for method in order if (line := _line(curves, method, key))]
        path = folder / f"{name}.png"
        _picture(lines, label, title, path)
        written.append(path)
    return written


def short(name: str, letters: int) -> str:
    """Shorten a name to at most `letters` characters, by removing its middle.

    >>> short("ucb:keep=0.3,period=5", 13)
    'ucb:k...iod=5'
    """
    half = (letters - 3) // 2
    return name if len(name) <= letters else f"{name[:half]}...{name[-half:]}"


def _line(curves: list[Row], method: str, key: str) -> Line | None:
    mine = [row for row in curves if row["method"] == method]
    epochs = sorted({row["epoch"] for row in mine})
    if not epochs:
        return None
    at = [[row for row in mine if row["epoch"] == epoch] for epoch in epochs]
    accuracy = [[row["test_accuracy"] for row in rows] for rows in at]
    return Line(
        method,
        [fmean(row[key] for row in rows) for rows in at],
        [fmean(values) for values in accuracy],
        [min(values) for values in accuracy],
        [max(values) for values in accuracy],
    )


def _picture(lines: list[Line], label: str, title: str, path: Path) -> None:
    # The object interface does not change the user's backend and global settings.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(7.6, 4.4), dpi=200, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    styles = styles_of([line.method for line in lines])
    banded = len(lines) <= BANDS and any(line.low != line.high for line in lines)
    for line in lines:
        colour, dash = styles[line.method]
        if banded:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(line.x, line.mean, color=colour, linestyle=dash, linewidth=1.8)
        axes.plot(line.x[-1], line.mean[-1], "o", color=colour, markersize=4.5)
    frame(axes, lines)
    name_lines(axes, lines, styles)
    if label.startswith("samples"):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(label, color=INK)
    what = "test accuracy, %" + (" (shaded: lowest to highest seed)" if banded else "")
    axes.set_title(what, loc="left", fontsize=9.5, color=INK, pad=8)
    figure.suptitle(
        short(title, 90), x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK, parse_math=False
    )
    figure.savefig(path)


def styles_of(methods: list[str]) -> dict[str, tuple[str, Any]]:
    """Line styles: `full` is dark; other methods use the colours in turn, then again with dashes."""
    styles: dict[str, tuple[str, Any]] = {"full": (INK, "-")}
    for i, method in enumerate(m for m in methods if m != "full"):
        styles[method] = (COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
    return styles


def frame(axes: "Axes", lines: list[Line]) -> None:
    """Set the limits so that the differences between methods are visible. The first epochs are cut off."""
    best = max(max(line.high) for line in lines)
    settled = [value for line in lines for value in line.mean[len(line.mean) // 6 :]]
    low = min(settled)
    low = min(low, best - 2)
    room = best - low
    axes.set_ylim(max(0.0, low - 0.15 * room), min(100.5, best + 0.08 * room))
    axes.set_xlim(left=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    axes.grid(axis="y", color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)


def name_lines(axes: "Axes", lines: list[Line], styles: dict[str, tuple[str, Any]]) -> None:
    """Write the names to the right, in the order of final accuracy, without overlaps."""
    bottom, top = axes.get_ylim()
    gap = (top - bottom) * max(0.052, 0.9 / max(len(lines), 18))
    ranked = sorted(lines, key=lambda line: line.mean[-1])
    heights: list[float] = []
    for line in ranked:
        heights.append(max(line.mean[-1], heights[-1] + gap if heights else -math.inf))
    # If names reach beyond the top, move them down as far as needed.
    ceiling = top
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], ceiling)
        ceiling = heights[i] - gap
    right = axes.get_xlim()[1]
    for line, height in zip(ranked, heights, strict=True):
        colour, dash = styles[line.method]
        axes.annotate(
            f"{short(line.method, 48)}  {line.mean[-1]:.1f}",
            (right, height),
            xytext=(28, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK,
            annotation_clip=False,
            parse_math=False,  # a name may hold dollar signs
        )
        axes.annotate(
            "",
            (right, height),
            xytext=(23, 0),
            textcoords="offset points",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linestyle": dash,
                "linewidth": 2.4,
                "shrinkA": 0,
                "shrinkB": 3,
            },
        )
