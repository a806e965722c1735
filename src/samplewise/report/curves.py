"""Results during training: a line for each method, named at the right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samplewise.report.page import FULL, INK, Style, frame, page, short, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "draw"]

_BANDS = 6
"""With more methods than this, bands would cover each other and are not drawn."""


@dataclass(frozen=True)
class Curve:
    """One method after each epoch: the mean over seeds, and the lowest and the highest seed if known."""

    method: str
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def draw(
    found: Sequence[Curve],
    path: Path,
    *,
    title: str,
    cost: str,
    result: str,
    said: str = "",
    caption: str = "",
    digits: int = 1,
    settled: bool = True,
) -> "Figure":
    """Write the picture.

    Args:
        found: the lines. `full` is dark.
        path: of the file.
        title: of the picture.
        cost: label of the horizontal axis.
        result: label of the vertical axis.
        said: a sentence below the title.
        caption: what is drawn.
        digits: decimals of the last result, which stands at the name.
        settled: whether the first third of every line may be cut off, so that later differences are seen. If
            not, all points are marked.

    Returns:
        the figure that was written.
    """
    lines = [line for line in found if all(map(math.isfinite, line.mean))]
    banded = len(lines) <= _BANDS and any(list(line.low) != list(line.high) for line in lines)
    caption = f"{caption} Shaded: lowest to highest seed.".strip() if banded else caption
    figure = page(8.2, max(4.2, 0.22 * len(lines) + 0.9), title, said, caption)
    axes = figure.add_subplot()
    looks = styles([line.method for line in lines])
    for line in lines:
        look, front = looks[line.method], 3 if line.method == FULL else 2
        if banded and line.low:
            axes.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.13, linewidth=0)
        axes.plot(line.x, line.mean, color=look.colour, linestyle=look.dash, linewidth=1.7, zorder=front)
        last = slice(-1, None) if settled else slice(None)
        axes.plot(
            line.x[last], line.mean[last], linestyle="none", marker=look.marker, color=look.colour,
            markersize=5.5, markeredgecolor="white", markeredgewidth=0.6, zorder=4,
        )  # fmt: skip
    frame(axes)
    axes.set_xlabel(cost, color=INK, fontsize=9.5)
    axes.set_ylabel(result, color=INK, fontsize=9.5, parse_math=False)
    if lines:
        _limits(axes, lines, settled)
        _name(axes, lines, looks, digits)
    figure.savefig(path)
    return figure


def _limits(axes: "Axes", lines: Sequence[Curve], settled: bool) -> None:
    parts = [part for line in lines for part in (line.mean, line.low, line.high)]
    shown = [value for part in parts for value in part[len(part) // 3 if settled else 0 :]]
    room = max(max(shown) - min(shown), 1e-3 * abs(max(shown)), 1e-9)
    axes.set_ylim(min(shown) - 0.06 * room, max(shown) + 0.06 * room)
    axes.set_xlim(0, 1.02 * max(x for line in lines for x in line.x))


def _name(axes: "Axes", lines: Sequence[Curve], looks: dict[str, Style], digits: int) -> None:
    """Write the names to the right, in the order of the final result, without overlaps."""
    bottom, top = axes.get_ylim()
    gap = (top - bottom) * 0.9 / max(len(lines), 18)
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
        look = looks[line.method]
        axes.annotate(
            f"{short(line.method, 44)}  {line.mean[-1]:.{digits}f}", (right, height), xytext=(42, 0),
            textcoords="offset points", va="center", fontsize=8.5, color=INK, annotation_clip=False,
            parse_math=False,  # a name may hold dollar signs
        )  # fmt: skip
        _sample(axes, height, look)


def _sample(axes: "Axes", height: float, look: Style) -> None:
    """A piece of the line, with its marker, beside its name."""
    from matplotlib.transforms import offset_copy

    figure = axes.get_figure(root=True)
    middle = offset_copy(axes.get_yaxis_transform(), fig=figure, x=22, units="points")
    axes.plot(
        1, height, marker=look.marker, color=look.colour, markersize=5.5, markeredgecolor="white",
        markeredgewidth=0.6, transform=middle, clip_on=False, scalex=False, scaley=False, zorder=5,
    )  # fmt: skip
    axes.annotate(
        "", (1, height), xycoords=("axes fraction", "data"), xytext=(37, 0), textcoords="offset points",
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-", "color": look.colour, "linestyle": look.dash, "linewidth": 1.9, "shrinkA": 0,
            "shrinkB": 7,
        },
    )  # fmt: skip
