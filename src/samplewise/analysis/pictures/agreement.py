"""The picture of agreement: heat maps of rank correlations and common samples, overlap against keep."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from jaxtyping import Float64

from samplewise.analysis.agreement import Agreement
from samplewise.report.page import COLOURS, FAINT, INK, frame, page, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_NUMBERED = 16
"""With more scores, the cells are too small for numbers."""


def draw(
    found: Agreement, file: Path | BinaryIO, at: float = 0.3, title: str = "Agreement of scores"
) -> None:
    """Write the picture.

    Args:
        found: the agreement.
        file: where to write it.
        at: the share of the second heat map: the closest of `found.keeps`.
        title: in bold.
    """
    k = len(found.names)
    nearest = int(np.argmin(np.abs(np.array(found.keeps) - at)))
    side = min(max(0.42 * k, 1.9), 7.0)
    letters = max(len(short(name, 34)) for name in found.names)
    figure = page(
        2 * side + 0.075 * letters + 4.2, side + 0.7, title,
        "Rank correlation of the scores, and the part of the chosen samples that both choose.",
        f"{found.n:,} samples that all scores know. In brackets: what random sets of the same size have in "
        "common. Darker cells agree more.",
    )  # fmt: skip
    left, middle, right = figure.subplots(1, 3, width_ratios=[side, side, 2.6])
    _heat(left, found, found.spearman, "Spearman correlation", -1.0)
    keep, chance = found.keeps[nearest], float(found.shared_by_chance[nearest][0, -1])
    _heat(middle, found, found.shared[nearest], f"common at keep {keep:g} ({chance:.2f})", 0.0)
    middle.set_yticklabels([str(number) for number in range(1, k + 1)])
    _lines(right, found)
    figure.savefig(file, format="png")


def _heat(axes: "Axes", found: Agreement, values: Float64[np.ndarray, "k k"], said: str, low: float) -> None:
    """A map in one colour that gets darker, so that it also reads in grey."""
    names = [short(name, 34) for name in found.names]
    axes.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=low, vmax=1.35)
    numbers = range(1, len(names) + 1)
    axes.set_xticks(range(len(names)), [str(number) for number in numbers], fontsize=8, color=INK)
    labels = [f"{name}  {number}" for number, name in zip(numbers, names, strict=True)]
    axes.set_yticks(range(len(names)), labels, fontsize=8, color=INK)
    axes.tick_params(length=0)
    axes.set_title(said, loc="left", fontsize=9.5, color=INK)
    for side in axes.spines.values():
        side.set_visible(False)
    if len(names) > _NUMBERED:
        return
    for (row, column), value in np.ndenumerate(values):
        if row != column:
            dark = (value - low) / (1.35 - low) > 0.55
            text = f"{value:.2f}".replace("0.", ".", 1) if np.isfinite(value) else "-"
            axes.text(
                column, row, text, ha="center", va="center", fontsize=7.5, color="white" if dark else INK
            )


def _lines(axes: "Axes", found: Agreement) -> None:
    """The mean common part of pairs against keep, beside chance."""
    keeps = found.keeps
    drawn: list[tuple[str, Any, dict[str, Any]]] = [
        (
            "different methods",
            found.mean(found.shared, within=False),
            {"color": COLOURS[1], "linestyle": (0, (5, 1.5)), "marker": "^"},
        ),
        (
            "seeds of one method",
            found.mean(found.shared, within=True),
            {"color": COLOURS[0], "linestyle": "-", "marker": "s"},
        ),
    ]
    for label, values, style in drawn:
        if np.isfinite(values).all():
            axes.plot(keeps, values, label=label, linewidth=1.6, markersize=4.5, **style)
    both = np.ones((len(found.names),) * 2, dtype=bool)
    chance = found.shared_by_chance[:, np.triu(both, 1)].mean(1)
    axes.plot(keeps, chance, color=FAINT, linestyle=(0, (1.2, 1.2)), linewidth=1.4, label="random sets")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(min(keeps) - 0.03, max(keeps) + 0.03)
    axes.set_xlabel("keep", fontsize=9, color=INK)
    axes.set_title("common samples, mean of pairs", loc="left", fontsize=9.5, color=INK)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")
    frame(axes)
