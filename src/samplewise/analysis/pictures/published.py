"""Published numbers beside ours: two marks for every method, and the interval of ours."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from samplewise.analysis.results import Beside, Comparison
from samplewise.report.page import COLOURS, FAINT, INK, frame, page, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]


def draw(
    found: Comparison, path: Path | BinaryIO, *, title: str, result: str, said: str = "", caption: str = ""
) -> "Figure":
    """Write the picture: a panel for every setting, with its methods from top to bottom.

    Args:
        found: by `beside_published`.
        path: of the file.
        title: of the picture.
        result: label of the axis.
        said: a sentence below the title.
        caption: what is drawn.

    Returns:
        the figure that was written.
    """
    settings: dict[str, list[Beside]] = {}
    for one in found.rows:
        settings.setdefault(one.row.setting, []).append(one)
    marks = "Diamond: published. Dot with its 95 % interval: ours. No dot: not run."
    figure = page(
        8.2,
        sum(0.62 + 0.26 * len(rows) for rows in settings.values()) + 0.35,
        title,
        said,
        f"{caption} {marks}".strip(),
    )
    panels = figure.subplots(
        len(settings), 1, squeeze=False, height_ratios=[1.2 + 0.5 * len(rows) for rows in settings.values()]
    )
    for axes, (setting, rows) in zip(panels[:, 0], settings.items(), strict=True):
        _panel(axes, setting, rows, found)
    panels[-1, 0].set_xlabel(result, color=INK, fontsize=9.5, parse_math=False)
    figure.savefig(path)
    return figure


def _panel(axes: "Axes", setting: str, rows: list[Beside], found: Comparison) -> None:
    if found.reference is not None:
        axes.axvline(0, color=INK, linewidth=1.1, zorder=1)
    for y, one in enumerate(rows):
        if one.mean is not None:
            axes.plot([one.theirs, one.mean], [y, y], color=FAINT, linewidth=0.8, zorder=1.5)
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [y, y], color=COLOURS[0], linewidth=1.6, zorder=2)
            axes.plot(one.mean, y, marker="o", color=COLOURS[0], markersize=6, zorder=3)
        axes.plot(
            one.theirs, y, marker="D", color="white", markeredgecolor=COLOURS[1], markeredgewidth=1.5,
            markersize=6, zorder=3.5,
        )  # fmt: skip
    rho = found.agreement.get(setting)
    order = "" if rho is None else f"  (rank correlation {rho:+.2f})"
    axes.set_title(f"{short(setting, 60)}{order}", loc="left", fontsize=9.5, color=INK, parse_math=False)
    frame(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(rows)), [short(one.row.method, 40) for one in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
