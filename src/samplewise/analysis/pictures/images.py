"""A grid of images: a row for each group, with a name at the left and two words below every image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from samplewise.report.page import INK, page, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Row", "draw", "pixels"]

_CELL = 1.0
_BELOW = 0.36
"""Height of the text below an image, in widths of an image."""


@dataclass(frozen=True)
class Row:
    """A row of the grid.

    Attributes:
        name: at the left, in bold.
        note: below the name.
        images: each (side, side) or (side, side, 3), in [0, 1].
        captions: below the images, at most two lines each.
    """

    name: str
    note: str
    images: Sequence[np.ndarray]
    captions: Sequence[str]


def pixels(images: np.ndarray) -> np.ndarray:
    """Stored images (k, channels, side, side) as values in [0, 1] to draw: (k, side, side[, 3]).

    8-bit values are divided by 255. Other values are stretched from their smallest to their largest. Of
    images with another number of channels than 1 and 3, the first is drawn.
    """
    found = images.astype(np.float64)
    if images.dtype == np.uint8:
        found /= 255
    elif found.size:
        low, high = found.min(), found.max()
        found = (found - low) / (high - low if high > low else 1.0)
    if found.shape[1] == 3:
        coloured: np.ndarray = found.transpose(0, 2, 3, 1)
        return coloured
    grey: np.ndarray = found[:, 0]
    return grey


def draw(
    rows: Sequence[Row], path: Path | BinaryIO, *, title: str, said: str = "", caption: str = ""
) -> "Figure":
    """Write the picture.

    Args:
        rows: from top to bottom.
        path: of the file.
        title: of the picture.
        said: a sentence below the title.
        caption: what is drawn.

    Returns:
        the figure that was written.
    """
    columns = max(1, *(len(row.images) for row in rows))
    width = 1.9 + 0.75 * columns
    figure = page(max(width, 6.0), 0.75 * (1 + _BELOW) * len(rows) + 0.1, title, said, caption)
    axes = figure.add_subplot()
    for number, row in enumerate(rows):
        _row(axes, row, number * (_CELL + _BELOW))
    axes.set_xlim(0, columns)
    axes.set_ylim(len(rows) * (_CELL + _BELOW), -0.02)
    axes.set_aspect("equal", anchor="W")
    axes.axis("off")
    figure.savefig(path)
    return figure


def _row(axes: "Axes", row: Row, top: float) -> None:
    text: dict[str, Any] = {"color": INK, "parse_math": False, "clip_on": False}
    axes.text(
        -0.15,
        top + 0.42,
        short(row.name, 26),
        fontsize=8.5,
        fontweight="bold",
        ha="right",
        va="bottom",
        **text,
    )
    axes.text(-0.15, top + 0.5, row.note, fontsize=7.5, ha="right", va="top", **text)
    for x, (image, words) in enumerate(zip(row.images, row.captions, strict=True)):
        grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if image.ndim == 2 else {}
        axes.imshow(
            image,
            extent=(x + 0.03, x + 0.97, top + _CELL - 0.03, top + 0.03),
            interpolation="nearest",
            **grey,
        )
        axes.text(x + 0.5, top + _CELL, words, fontsize=6, ha="center", va="top", linespacing=1.05, **text)
