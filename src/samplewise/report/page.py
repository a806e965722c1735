"""What all pictures share: the page with title and caption, colours, markers, dashes and axes."""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from samplewise.checks import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "DASHES",
    "FAINT",
    "FULL",
    "INK",
    "MARKERS",
    "Style",
    "frame",
    "page",
    "short",
    "styles",
]

INK, FAINT = "#2b2b2b", "#8a8a8a"
FULL = "full"
# The colours of Okabe and Ito, which colour-blind readers can distinguish. Yellow is left out: it is too
# pale.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (7, 1.5, 1.2, 1.5)), (0, (3, 3)))
MARKERS = ("s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
_LETTERS, _SMALL = 14.6, 15.6
"""Letters of the subtitle and of the caption in an inch."""


@dataclass(frozen=True)
class Style:
    """How a method is drawn. Marker and dash also differ where colours cannot be seen."""

    colour: str
    dash: Any
    marker: str


def styles(names: list[str]) -> dict[str, Style]:
    """`full` is dark and solid. The others take colours, dashes and markers in turn, all pairs different."""
    found = {FULL: Style(INK, "-", "o")}
    for i, name in enumerate(name for name in names if name != FULL):
        dashes = DASHES[1:] if FULL in names else DASHES
        found[name] = Style(COLOURS[i % len(COLOURS)], dashes[i % len(dashes)], MARKERS[i % len(MARKERS)])
    return found


def short(name: str, letters: int) -> str:
    """Shorten a name to at most `letters` characters, by removing its middle.

    >>> short("ucb:keep=0.3,period=5", 13)
    'ucb:k...iod=5'
    """
    half = (letters - 3) // 2
    return name if len(name) <= letters else f"{name[:half]}...{name[-half:]}"


def page(width: float, height: float, title: str, said: str = "", caption: str = "") -> "Figure":
    """An empty figure with a title, a sentence below it, and a caption at the bottom.

    Args:
        width: in inches.
        height: in inches, of all but the texts.
        title: in bold.
        said: a sentence below the title.
        caption: what is drawn, in small letters.
    """
    require("matplotlib", "report")
    # The object interface does not change the user's backend and global settings.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    above = textwrap.wrap(said, int(width * _LETTERS))
    below = [line for part in caption.splitlines() for line in textwrap.wrap(part, int(width * _SMALL))]
    top, bottom = 0.38 + 0.17 * len(above), (0.12 + 0.15 * len(below)) if below else 0.0
    whole = height + top + bottom
    figure = Figure(figsize=(width, whole), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine(
        ConstrainedLayoutEngine(rect=(0, bottom / whole, 1, 1 - (top + bottom) / whole), h_pad=0.06)
    )
    left = 0.1 / width
    shown: dict[str, Any] = {"ha": "left", "va": "top", "color": INK, "parse_math": False, "in_layout": False}
    figure.text(left, 1 - 0.1 / whole, short(title, int(width * 9)), fontsize=12, fontweight="bold", **shown)
    figure.text(left, 1 - 0.37 / whole, "\n".join(above), fontsize=9, **shown)
    figure.text(left, (bottom - 0.04) / whole, "\n".join(below), fontsize=7.5, **shown | {"color": "#5a5a5a"})
    return figure


def frame(axes: "Axes", grid: Literal["x", "y", "both"] = "y") -> None:
    """Light axes: no upper and right border, and a grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(labelcolor=INK, labelsize=9, color=FAINT)
    axes.grid(axis=grid, color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
