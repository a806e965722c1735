"""The plot of repeated selection: the error and the kept share at every stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from samplewise.checks import require
from samplewise.report.page import INK, frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8a8a8a"
BARS = "#e3e8ee"


@dataclass(frozen=True)
class Stages:
    """One column of the plot. Errors are shares in [0, 1], one for each stage.

    Attributes:
        heading: the heading of the column.
        keeps: the share kept at each stage.
        critical_keep: below this share, selection from one pool loses support vectors.
        recursion: error in theory, with a fresh pool at each stage.
        static: error in theory, with the first probe at each stage.
        full: error in theory, with the whole pool.
        fresh: simulated error and its standard error, with a fresh pool at each stage.
        same: simulated error and its standard error, with one pool for all stages.
    """

    heading: str
    keeps: Sequence[float]
    critical_keep: float
    recursion: Sequence[float]
    static: Sequence[float]
    full: float
    fresh: Sequence[tuple[float, float]]
    same: Sequence[tuple[float, float]]


def draw(columns: Sequence[Stages], title: str, subtitle: str, file: Path | BinaryIO) -> None:
    """Write the plot: for each column, errors on top and kept shares below."""
    require("matplotlib", "report")
    # The object interface does not change the user's backend and global settings.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = 2.0 + 4.4 * len(columns) if len(columns) > 1 else 7.6
    figure = Figure(figsize=(width, 5.6), dpi=200, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(columns), sharey="row", sharex="col", height_ratios=[3.4, 1], squeeze=False)
    for (above, below), column in zip(axes.T, columns, strict=True):
        _errors(above, column)
        _shares(below, column)
    axes[0, 0].set_ylabel("error on new inputs, %", color=INK, fontsize=9.5)
    axes[1, 0].set_ylabel("kept, %", color=INK, fontsize=9.5)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside lower left", ncols=3, frameon=False, fontsize=9, labelcolor=INK
    )
    legend.set_in_layout(True)
    figure.suptitle(
        f"{title}\n", x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK, linespacing=1.7
    )
    figure.text(0.012, 0.938, subtitle, fontsize=9.5, color="#5a5a5a", va="center")
    figure.savefig(file, format="png")  # a partial file has no .png ending, so name the format


def _errors(axes: "Axes", column: Stages) -> None:
    stages = range(1, len(column.keeps) + 1)
    axes.axhline(
        100 * column.full, color=INK, linewidth=1, linestyle=(0, (1, 2)), label="whole pool (theory)"
    )
    axes.plot(
        stages, _percent(column.static), color=GREY, linestyle=(0, (5, 2)), linewidth=1.6,
        label="first probe at every stage (theory)",
    )  # fmt: skip
    axes.plot(stages, _percent(column.recursion), color=BLUE, linewidth=1.8, label="fresh pools (recursion)")
    for name, found, colour, line, shape in (
        ("fresh pools (simulated)", column.fresh, BLUE, "none", "o"),
        ("one pool for all stages (simulated)", column.same, ORANGE, "-", "s"),
    ):
        axes.errorbar(
            stages, _percent([mean for mean, _ in found]), yerr=_percent([error for _, error in found]),
            color=colour, linestyle=line, linewidth=1.2, marker=shape, markersize=4.6, elinewidth=1,
            capsize=2.2, markeredgecolor="white", markeredgewidth=0.6, label=name, zorder=3,
        )  # fmt: skip
    axes.set_title(column.heading, loc="left", fontsize=10, color=INK)
    frame(axes)


def _shares(axes: "Axes", column: Stages) -> None:
    stages = range(1, len(column.keeps) + 1)
    axes.bar(stages, _percent(column.keeps), color=BARS, width=0.72)
    axes.axhline(100 * column.critical_keep, color=ORANGE, linewidth=1.1, linestyle=(0, (3, 2)))
    axes.annotate(
        f"support vectors of the pool: {100 * column.critical_keep:.0f} %",
        (1, 100 * column.critical_keep),
        xycoords=("axes fraction", "data"),
        xytext=(-3, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8.5,
        color="#a84a00",
    )
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.set_xticks(_ticks(len(column.keeps)))
    axes.set_xlim(0.4, len(column.keeps) + 0.6)
    axes.set_xlabel("stage: select, then train", color=INK, fontsize=9.5)
    frame(axes)


def _ticks(stages: int) -> list[int]:
    """Ticks at integer stages, at most about 12."""
    return list(range(1, stages + 1, 1 + (stages - 1) // 12))


def _percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]
