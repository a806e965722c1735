"""A heat map: a number in every cell, darker where it is higher; cells without a number are hatched."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from samplewise.report.page import FAINT, INK, page, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]


def draw(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path | BinaryIO,
    *,
    title: str,
    said: str = "",
    caption: str = "",
    cells: Sequence[Sequence[str]] | None = None,
    vertical: str = "",
    horizontal: str = "",
    digits: int = 1,
    letters: int = 30,
) -> "Figure":
    """Write the picture.

    Args:
        values: a row for each of `rows`, a column for each of `columns`. NaN is a missing cell.
        rows: names, from top to bottom.
        columns: names, from left to right.
        path: of the file.
        title: of the picture.
        said: a sentence below the title.
        caption: what is drawn.
        cells: what stands in the cells; None: the values.
        vertical: what the rows are.
        horizontal: what the columns are.
        digits: decimals of the values.
        letters: of the name of a row, at most.

    Returns:
        the figure that was written.
    """
    lines = max([1, *(cell.count("\n") + 1 for row in cells or () for cell in row)])
    longest = max([4, *(len(part) for row in cells or () for cell in row for part in cell.split("\n"))])
    wide = max(0.72, 0.085 * longest + 0.1, 0.075 * max(map(len, columns)))
    names = 0.085 * max(min(len(name), letters) for name in rows) + 0.6
    height = max(0.34, 0.17 * lines + 0.14) * len(rows) + 0.9
    missing = bool(np.isnan(values).any())
    caption = f"{caption} Hatched: no run.".strip() if missing else caption
    figure = page(max(6.0, names + wide * len(columns)), height, title, said, caption)
    axes = figure.add_subplot()
    shown = np.ma.masked_invalid(values)
    low, high = (float(shown.min()), float(shown.max())) if shown.count() else (0.0, 1.0)
    room = (high - low) or 1.0
    # From a light to a dark grey-blue: the order is the same without colours.
    drawn = axes.imshow(shown, cmap="Blues", vmin=low - 0.12 * room, vmax=high + 0.25 * room, aspect="auto")
    axes.set_facecolor("#f4f4f4")
    for (y, x), value in np.ndenumerate(values):
        if np.isnan(value):
            _missing(axes, x, y)
            continue
        words = f"{value:.{digits}f}" if cells is None else cells[y][x]
        light = _luminance(drawn.to_rgba(value)) > 0.25
        axes.text(x, y, words, ha="center", va="center", fontsize=8.5, color=INK if light else "white")
    axes.set_xticks(range(len(columns)), [short(name, 24) for name in columns], parse_math=False)
    axes.set_yticks(range(len(rows)), [short(name, letters) for name in rows], parse_math=False)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0, labelsize=8.5, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(horizontal, color=INK, fontsize=9.5, parse_math=False)
    axes.set_ylabel(vertical, color=INK, fontsize=9.5, parse_math=False)
    figure.savefig(path)
    return figure


def _luminance(colour: Any) -> float:
    """The relative luminance of a colour, from 0 for black to 1 for white."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def _missing(axes: Any, x: int, y: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="////", edgecolor=FAINT, linewidth=0)
    )
