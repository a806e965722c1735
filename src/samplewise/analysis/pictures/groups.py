"""The picture of selection counts: their histogram, the fitted mixture, and random selection."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from samplewise.analysis.groups import GROUPS, SelectionGroups
from samplewise.analysis.mixture import log_densities
from samplewise.report.page import COLOURS, DASHES, FAINT, INK, frame, page, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_COLUMNS = 3
_BARS = "#cfd8e3"


def draw(
    found: Mapping[str, SelectionGroups], file: Path | BinaryIO, title: str = "Selection counts"
) -> None:
    """Write the picture: a panel for each method, under its name."""
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    n = max(len(groups.counts.ids) for groups in found.values())
    figure = page(
        max(4.6 * columns, 6.4), 3.3 * rows, title,
        "How many checkpoints selected a sample, three truncated normals fitted to it, and random selection.",
        f"{n:,} samples. Bars: the share of samples for each count, as a density; at both ends they are half "
        "as wide. Vertical lines: the limits of the groups. In brackets: the shares that random selection of "
        "the same sizes has within these limits.",
    )  # fmt: skip
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.0] * rows + [0.06])
    for i, (name, groups) in enumerate(found.items()):
        panel = figure.add_subplot(grid[divmod(i, columns)])
        _panel(panel, name, groups)
    below = figure.add_subplot(grid[rows, :])
    below.axis("off")
    handles, labels = panel.get_legend_handles_labels()
    below.legend(handles, labels, loc="center", ncols=5, frameon=False, fontsize=8.5, labelcolor=INK)
    figure.savefig(file, format="png")  # a partial file has no .png ending, so name the format


def _panel(axes: "Axes", name: str, groups: SelectionGroups) -> None:
    mixture, last = groups.mixture, groups.counts.checkpoints
    counts = np.arange(last + 1)
    edges = np.clip(np.arange(last + 2) - 0.5, 0, last)
    widths = np.diff(edges)
    heights = groups.counts.histogram / len(groups.counts.ids) / widths
    axes.bar(edges[:-1], heights, widths, align="edge", color=_BARS, edgecolor="white", linewidth=0.4)
    axes.plot(
        counts, groups.chance / widths, color=FAINT, linewidth=1.1, marker="o", markersize=3,
        markerfacecolor="white", label="random selection",
    )  # fmt: skip
    at = np.linspace(0, last, 600)
    parts = np.exp(log_densities(at, np.array(mixture.means), np.array(mixture.widths), last))
    for part, share, label, colour, dash in zip(
        parts, mixture.shares, GROUPS, COLOURS, DASHES[1:], strict=False
    ):
        axes.plot(at, share * part, color=colour, linestyle=dash, linewidth=1.5, label=label)
    axes.plot(at, np.exp(mixture.logpdf(at)), color=INK, linewidth=2.4, alpha=0.55, zorder=1.9, label="sum")
    top = max(heights.max(), np.exp(mixture.logpdf(counts)).max(), (groups.chance / widths).max())
    axes.set_ylim(0, top * 1.3)
    never, always = mixture.limits
    for limit in (never, always):
        axes.axvline(limit, 0, 0.8, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    said = [
        f"{label} {100 * share:.0f} %\n({100 * chance:.0f} %)"
        for label, share, chance in zip(GROUPS, groups.shares, groups.chance_shares, strict=True)
    ]
    for text, x, side in zip(said, (0.01, 0.5, 0.99), ("left", "center", "right"), strict=True):
        axes.text(x, 0.985, text, transform=axes.transAxes, ha=side, va="top", fontsize=8.5, color=INK)
    axes.set_title(short(name, 48), loc="left", fontsize=9.5, color=INK)
    axes.set_xlabel(f"selected at so many of {last} checkpoints", fontsize=9, color=INK)
    axes.set_ylabel("density of samples", fontsize=9, color=INK)
    axes.margins(x=0.01)
    axes.locator_params("x", integer=True)
    frame(axes)
