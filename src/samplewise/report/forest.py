"""Paired differences with their intervals, one line for each method, and the verdicts in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samplewise.report.page import COLOURS, FAINT, INK, frame, page, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Difference", "draw"]

_LOOKS = {
    "better": (COLOURS[0], "^", COLOURS[0]),
    "worse": (COLOURS[1], "v", COLOURS[1]),
    "as good": (INK, "s", INK),
}
"""Colour, marker and fill of a verdict. All others are hollow circles."""


@dataclass(frozen=True)
class Difference:
    """A method minus full training of the same cost; above 0 is better."""

    name: str
    mean: float
    low: float
    high: float
    exact: float
    """The mean difference to the exact control."""
    word: str
    """The verdict, which decides how it is drawn."""
    note: str = ""
    """What is added to the word."""
    control: bool = False


def draw(
    found: Sequence[Difference],
    delta: float,
    path: Path,
    *,
    title: str,
    result: str,
    said: str = "",
    caption: str = "",
) -> "Figure":
    """Write the picture.

    Args:
        found: from top to bottom; the controls last.
        delta: the smallest difference that matters. The band of smaller ones is shaded.
        path: of the file.
        title: of the picture.
        result: label of the axis.
        said: a sentence below the title.
        caption: what is drawn.

    Returns:
        the figure that was written.
    """
    figure = page(8.2, 0.75 + 0.26 * len(found), title, said, caption)
    axes = figure.add_subplot()
    axes.axvspan(-delta, delta, color="#e6e6e6", zorder=0)
    axes.axvline(0, color=INK, linewidth=1.1, zorder=1)
    for y, one in enumerate(found):
        _line(axes, one, y)
    methods = sum(not one.control for one in found)
    if 0 < methods < len(found):
        axes.axhline(methods - 0.5, color=FAINT, linewidth=0.7, linestyle=(0, (1, 2)))
    _limits(axes, found, delta)
    frame(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(found)), [short(one.name, 44) for one in found], parse_math=False)
    for tick, one in zip(axes.get_yticklabels(), found, strict=True):
        tick.set_color("#5a5a5a" if one.control else INK)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlabel(result, color=INK, fontsize=9.5, parse_math=False)
    figure.savefig(path)
    return figure


def _line(axes: "Axes", one: Difference, y: int) -> None:
    colour, marker, fill = _LOOKS.get(one.word, ("#5a5a5a", "o", "white"))
    axes.plot([one.low, one.high], [y, y], color=colour, linewidth=1.5, solid_capstyle="butt", zorder=2)
    axes.plot(one.exact, y, marker="|", color=FAINT, markersize=9, markeredgewidth=1.6, zorder=2.5)
    axes.plot(one.mean, y, marker=marker, color=fill, markeredgecolor=colour, markersize=6.5, zorder=3)
    axes.annotate(
        one.word + (f", {one.note}" if one.note else ""), (1, y), xycoords=("axes fraction", "data"),
        xytext=(8, 0), textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False,
        color=INK if one.word in _LOOKS else "#5a5a5a", fontweight="bold" if one.word in _LOOKS else "normal",
    )  # fmt: skip


def _limits(axes: "Axes", found: Sequence[Difference], delta: float) -> None:
    """Show all means and the band. An interval that is far longer than the others may leave the picture."""
    means = [value for one in found for value in (one.mean, one.exact)]
    ends = [end for one in found for end in (one.low, one.high) if np.isfinite(end)]
    low, high = min([*means, -delta]), max([*means, delta])
    reach = 1.5 * (high - low)
    low = min([low, *(end for end in ends if end > low - reach)])
    high = max([high, *(end for end in ends if end < high + reach)])
    room = 0.04 * (high - low)
    axes.set_xlim(low - room, high + room)
