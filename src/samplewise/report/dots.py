"""A dot plot of many methods: one panel for each experiment's accuracy, and one for the cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samplewise.checks import require
from samplewise.report.page import FAINT, INK, short
from samplewise.report.summary import Row, Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Panel:
    """The results of one experiment, with a heading. `measure` is the label of the axis."""

    heading: str
    results: list[Row]
    measure: str = "test accuracy, %"


def draw(panels: list[Panel], order: list[str], title: str, path: Path, clock: str = "wall clock") -> None:
    """Draw the accuracy of every method in every panel, then the cost and time of the first panel.

    Grey dots are seeds, coloured dots are means, and the dotted line is `full`. `clock` names the time that
    `realised` in the rows was measured with.
    """
    require("matplotlib", "report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 1.5 + 0.27 * len(order)
    width = max(9.2, 7.6 + 0.08 * min(60, max(map(len, order))))
    figure = Figure(figsize=(width, height), dpi=200, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels) + 1, sharey=True)
    for axis, panel in zip(axes, panels, strict=False):
        _accuracies(axis, panel, order)
    _costs(axes[-1], summarise(panels[0].results, order), clock)
    axes[0].set_yticks(range(len(order)), [short(name, 60) for name in order], parse_math=False)
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    for axis in axes:
        _frame(axis)
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK, parse_math=False)
    figure.savefig(path)


def _accuracies(axis: "Axes", panel: Panel, order: list[str]) -> None:
    for summary in summarise(panel.results, order):
        y = order.index(summary.method)
        seeds = [row["test_accuracy"] for row in panel.results if row["method"] == summary.method]
        axis.plot(seeds, [y] * len(seeds), "o", color="#b5b5b5", markersize=4)
        axis.plot(summary.accuracy, y, "o", color=BLUE, markersize=6.5)
        if summary.method == "full":
            axis.axvline(summary.accuracy, color=INK, linewidth=1, linestyle=(0, (1, 2)), zorder=0)
    axis.set_title(panel.heading, loc="left", fontsize=10, color=INK)
    axis.set_xlabel(panel.measure, fontsize=9, color=INK)


def _costs(axis: "Axes", summaries: list[Summary], clock: str) -> None:
    """Draw the cost and the measured time as shares of ordinary training."""
    for y, summary in enumerate(summaries):
        axis.plot(100 * summary.cost_share, y, "o", color="white", markeredgecolor=ORANGE, markersize=6.5)
        if summary.saved is not None:
            spent = 100 * (1 - summary.saved)
            axis.plot([100 * summary.cost_share, spent], [y, y], color=ORANGE, linewidth=1, zorder=0)
            axis.plot(spent, y, "o", color=ORANGE, markersize=6.5)
    axis.axvline(100, color=INK, linewidth=1, linestyle=(0, (1, 2)), zorder=0)
    axis.set_xlim(left=0)
    axis.set_title(f"Cost (open) and {clock} (filled)", loc="left", fontsize=10, color=INK)
    axis.set_xlabel("% of full training", fontsize=9, color=INK)


def _frame(axis: "Axes") -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)
    axis.tick_params(axis="both", colors=INK, labelsize=9, color=FAINT)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="both", color="#ececec", linewidth=0.8)
    axis.set_axisbelow(True)
