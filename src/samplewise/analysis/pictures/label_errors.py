"""Precision against recall: how many of the suspected samples have a wrong label."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from samplewise.analysis.label_errors import Detection
from samplewise.report.page import FAINT, INK, frame, page, short, styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_POINTS = 400
_BANDS = 6
"""With more rankings than this, bands would cover each other and are not drawn."""


def draw(
    found: Mapping[str, Sequence[Detection]],
    path: Path | BinaryIO,
    *,
    title: str,
    said: str = "",
    caption: str = "",
) -> "Figure":
    """Write the picture: a line for each ranking, the mean over its runs.

    Args:
        found: the detections of each ranking, one for each run. All are of the same number of samples.
        path: of the file.
        title: of the picture.
        said: a sentence below the title.
        caption: what is drawn.

    Returns:
        the figure that was written.
    """
    ranked = sorted(found, key=lambda name: -fmean(one.average_precision for one in found[name]))
    several = any(len(runs) > 1 for runs in found.values())
    banded = several and len(found) <= _BANDS
    parts = [caption, "Band: lowest to highest run." if banded else ""]
    figure = page(8.2, 4.4, title, said, " ".join(part for part in parts if part))
    axes, looks = figure.add_subplot(), styles(ranked)
    for name in ranked:
        look, lines = looks[name], np.array([_line(one) for one in found[name]])
        recall, precision = lines[:, 0].mean(0), lines[:, 1]
        if banded:
            low, high = precision.min(0), precision.max(0)
            axes.fill_between(recall, low, high, color=look.colour, alpha=0.13, linewidth=0)
        area = fmean(one.average_precision for one in found[name])
        axes.plot(
            recall, precision.mean(0), color=look.colour, linestyle=look.dash, linewidth=1.7,
            marker=look.marker, markevery=_POINTS // 8, markersize=5, markeredgecolor="white",
            markeredgewidth=0.6, label=f"{short(name, 48)}  {area:.3f}",
        )  # fmt: skip
    chance = fmean(one.chance for runs in found.values() for one in runs)
    axes.axhline(chance, color=FAINT, linewidth=1, linestyle=(0, (1, 2)), label=f"chance  {chance:.3f}")
    frame(axes, grid="both")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall: share of the wrong labels that are found", color=INK, fontsize=9.5)
    axes.set_ylabel("precision: share of the suspects that are wrong", color=INK, fontsize=9.5)
    legend = axes.legend(
        title="average precision", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5,
        title_fontsize=8.5, handlelength=3.4,
    )  # fmt: skip
    legend.set_alignment("left")
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.savefig(path)
    return figure


def _line(one: Detection) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision of the first k samples, for some k from 1 to n."""
    k = np.unique(np.geomspace(1, one.n, 2 * _POINTS).round())
    k = k[np.linspace(0, len(k) - 1, _POINTS).round().astype(int)]
    taken = np.concatenate([[0], one.taken.numpy()])
    found = np.interp(k, taken, np.concatenate([[0], one.found.numpy()]))
    return found / one.wrong, found / k
