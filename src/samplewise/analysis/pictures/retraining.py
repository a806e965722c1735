"""The picture of the retraining control: what each group teaches alone, and as many random samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from samplewise.analysis.retraining import Retrained
from samplewise.report.page import COLOURS, FAINT, INK, frame, page, short

__all__ = ["draw"]


def draw(
    found: Sequence[Retrained], file: Path | BinaryIO, title: str = "Training on one group alone"
) -> None:
    """Write the picture: a row for each group, its accuracy and that of as many random samples."""
    seeds = {one.seeds for one in found}
    said = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    caption = f"Mean of {said} seed{'s' * (seeds != {1})}. In brackets: the samples that each trained on."
    if seeds != {1}:
        caption += " Behind: the 95 % interval of the difference, added to the accuracy of random samples."
    figure = page(
        7.4, 0.9 + 0.5 * len(found), title, "Test accuracy, beside as many random samples.", caption
    )
    axes = figure.add_subplot()
    for row, one in enumerate(found):
        if one.low is not None and one.high is not None:
            axes.plot(
                [one.random + one.low, one.random + one.high], [row, row], color="#b9cbe0", linewidth=7,
                solid_capstyle="butt", zorder=1,
            )  # fmt: skip
        axes.plot([one.random, one.accuracy], [row, row], color=FAINT, linewidth=1, zorder=2)
    rows = range(len(found))
    axes.scatter(
        [one.random for one in found],
        rows,
        s=42,
        c="white",
        marker="o",
        edgecolor=INK,
        zorder=3,
        label="random",
    )
    axes.scatter(
        [one.accuracy for one in found], rows, s=42, c=COLOURS[0], marker="D", zorder=3, label="the group"
    )
    axes.set_yticks(rows, [f"{short(one.group, 30)} ({one.samples:,.0f})" for one in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlabel("test accuracy, %", fontsize=9, color=INK)
    frame(axes, "x")
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, format="png")
