"""Placing the names of points in a picture so that they cover neither one another nor the data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from samplewise.report.page import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

__all__ = ["place"]

_RADII = np.array([4, 9, 15, 22, 30, 40, 52, 66, 82, 100, 120, 145, 175])
"""Distances between a point and its name, in points of print."""
_TURNS = np.array([0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 7, 9, 3, 13, 5, 11]) / 8 * np.pi
"""Directions: right and left first, then above and below, then between."""
_LINE_FROM = 15
"""The distance from which on a line joins the name and its point."""
_GAP = 2.0
"""Pixels between a name and anything else."""


def place(axes: "Axes", names: Sequence[str], points: ndarray, taken: ndarray) -> "list[Text]":
    """Write every name near its point, at the nearest free place. Far names get a line to their point.

    Limits and layout of the axes must be final.

    Args:
        axes: to draw on.
        names: of the points.
        points: (names, 2), in data coordinates.
        taken: (boxes, 4), left, bottom, right and top in pixels of what no name may cover.

    Returns:
        the names as they stand.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not len(names):
        return []
    # The canvas of `page` has it. matplotlib's types know only the base class.
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    inside = np.array(axes.get_window_extent(renderer).extents)
    radii = np.repeat(_RADII, len(_TURNS))
    away = np.tile(np.stack([np.cos(_TURNS), np.sin(_TURNS)], 1), (len(_RADII), 1))
    anchors = axes.transData.transform(points)
    boxes, leaders = taken.reshape(-1, 4), np.empty((0, 2))
    texts: dict[int, Text] = {}
    distances = np.linalg.norm(anchors[:, None] - anchors, axis=-1).sum(1)
    for i in np.argsort(distances, kind="stable"):
        text = axes.text(0, 0, names[i], fontsize=8.5, color=INK, ha="center", va="center", parse_math=False)
        size = np.array(text.get_window_extent(renderer).size)
        centres = anchors[i] + away * (radii[:, None] * figure.dpi / 72 + size / 2)
        candidates = np.concatenate([centres - size / 2 - _GAP, centres + size / 2 + _GAP], 1)
        ends = np.clip(anchors[i], candidates[:, :2], candidates[:, 2:])
        joints = anchors[i] + np.linspace(0.2, 1, 12)[:, None, None] * (ends - anchors[i])
        joined = radii >= _LINE_FROM
        cost = _shared(candidates, boxes).sum(1) + _outside(candidates, inside)
        cost += 20.0 * _within(leaders[:, None], candidates).sum(0)
        names_so_far = boxes[len(taken) :, None, None]
        cost += 20.0 * joined * _within(joints, names_so_far).any(1).sum(0)
        best = int(np.argmin(cost))  # the first of equal ones, which is the nearest
        x, y = axes.transData.inverted().transform(centres[best])
        text.set_position((x, y))
        boxes = np.concatenate([boxes, candidates[best : best + 1]])
        if joined[best]:
            leaders = np.concatenate([leaders, joints[:, best]])
            line = axes.transData.inverted().transform(np.stack([anchors[i], ends[best]]))
            axes.plot(*line.T, color=FAINT, linewidth=0.7, zorder=2.5, scalex=False, scaley=False)
        texts[int(i)] = text
    return [texts[i] for i in range(len(names))]


def _shared(some: ndarray, others: ndarray) -> ndarray:
    """The shared area of each of some boxes with each of the others."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    area: ndarray = np.clip(high - low, 0, None).prod(-1)
    return area


def _outside(boxes: ndarray, frame: ndarray) -> ndarray:
    """A cost for each box that is not inside the frame. It is larger than that of any overlap."""
    beyond = np.clip(frame[:2] - boxes[:, :2], 0, None) + np.clip(boxes[:, 2:] - frame[2:], 0, None)
    cost: ndarray = 1e6 * beyond.sum(1)
    return cost


def _within(points: ndarray, boxes: ndarray) -> ndarray:
    """Whether points (..., 2) lie in boxes (..., 4), which broadcast."""
    return np.asarray(((points >= boxes[..., :2]) & (points <= boxes[..., 2:])).all(-1))
