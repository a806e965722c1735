"""Draws boxes on floors with arrows that point down, as an SVG without overlapping text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

import networkx as nx

FLOOR, HEIGHT, GAP, MARGIN = 74, 34, 22, 24
LETTER, PADDING = 8, 14
SWEEPS = 100
STYLE = """\
  svg { color-scheme: light dark; }
  .ground { fill: #ffffff; }
  .floor { stroke: #d8dee4; stroke-width: 1; stroke-dasharray: 2 5; }
  .room { fill: #eef4fb; stroke: #3b6ea5; stroke-width: 1.5; }
  .name { fill: #16324f; font: 600 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
  .arrow { fill: none; stroke: #7a8794; stroke-width: 1.3; }
  .tip { fill: #7a8794; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; }
    .floor { stroke: #2b333c; }
    .room { fill: #16273a; stroke: #6ea8e0; }
    .name { fill: #dceafa; }
    .arrow { stroke: #8b98a5; }
    .tip { fill: #8b98a5; }
  }"""


@dataclass(eq=False)
class Spot:
    """A place on a floor: a box, or where an arrow passes by."""

    name: str = ""
    x: float = 0.0
    above: list["Spot"] = field(default_factory=list)
    below: list["Spot"] = field(default_factory=list)

    @property
    def width(self) -> float:
        """Of the box, or of the room that an arrow needs."""
        return len(self.name) * LETTER + 2 * PADDING if self.name else 4


def thinned(arrows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The arrows that no longer way of arrows stands for."""
    return sorted(nx.transitive_reduction(nx.DiGraph(sorted(arrows))).edges)


def draw(floors: Sequence[Sequence[str]], arrows: Iterable[tuple[str, str]], said: Mapping[str, str]) -> str:
    """The picture; `floors` from the bottom up, `said` is shown where the mouse rests on a box.

    Raises:
        ValueError: for an arrow that does not point down.
    """
    rows: list[list[Spot]] = [[Spot(name) for name in floor] for floor in floors]
    spots = {spot.name: spot for row in rows for spot in row}
    level = {name: number for number, floor in enumerate(floors) for name in floor}
    chains = []
    for start, end in sorted(arrows):
        if level[start] <= level[end]:
            raise ValueError(f"the arrow from {start} to {end} does not point down.")
        chain = [spots[start]]
        for passed in range(level[start] - 1, level[end], -1):
            chain.append(Spot())
            rows[passed].append(chain[-1])
        chain.append(spots[end])
        for upper, lower in pairwise(chain):
            upper.below.append(lower)
            lower.above.append(upper)
        chains.append(chain)
    arrange(rows)
    left = min(spot.x - spot.width / 2 for row in rows for spot in row)
    right = max(spot.x + spot.width / 2 for row in rows for spot in row)
    width, height = right - left + 2 * MARGIN, FLOOR * (len(rows) - 1) + HEIGHT + 2 * MARGIN
    for row in rows:
        for spot in row:
            spot.x += MARGIN - left
    y = {
        id(spot): height - MARGIN - HEIGHT - FLOOR * number for number, row in enumerate(rows) for spot in row
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">',
        "<title>The rooms of samplewise and the imports between them</title>",
        f"<style>\n{STYLE}\n</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
        f'<rect class="ground" width="{width:.0f}" height="{height:.0f}"/>',
    ]
    for row in rows:
        middle = y[id(row[0])] + HEIGHT / 2
        lines.append(f'<path class="floor" d="M0 {middle:.0f}H{width:.0f}"/>')
    lines += [_path(chain, y) for chain in chains]
    for name, spot in spots.items():
        corner = spot.x - spot.width / 2
        lines.append(
            f'<g><title>{escape(said.get(name, name))}</title><rect class="room" x="{corner:.0f}" '
            f'y="{y[id(spot)]:.0f}" width="{spot.width:.0f}" height="{HEIGHT}" rx="6"/><text class="name" '
            f'x="{spot.x:.0f}" y="{y[id(spot)] + HEIGHT / 2 + 5:.0f}" text-anchor="middle" '
            f'textLength="{len(name) * LETTER}">{escape(name)}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _path(chain: Sequence[Spot], y: Mapping[int, float]) -> str:
    """A smooth line from the lower edge of the first box to the upper edge of the last."""
    here, at = chain[0].x, y[id(chain[0])] + HEIGHT
    path = f"M{here:.0f} {at:.0f}"
    for spot in chain[1:]:
        top = y[id(spot)]
        bend = (top - at) / 2
        path += f"C{here:.0f} {at + bend:.0f} {spot.x:.0f} {top - bend:.0f} {spot.x:.0f} {top:.0f}"
        here, at = spot.x, top
        if spot is not chain[-1]:
            at += HEIGHT
            path += f"V{at:.0f}"
    return f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>'


def arrange(rows: Sequence[list[Spot]]) -> None:
    """Order every floor so that few arrows cross, then place its spots near those they are joined to."""
    for row in rows:
        _place(row, [0.0] * len(row))
    for sweep in range(SWEEPS):
        up = sweep % 2 == 0
        for row in rows if up else reversed(rows):
            wanted = {id(spot): _mean(spot.below if up else spot.above, spot.x) for spot in row}
            row.sort(key=lambda spot, wanted=wanted: wanted[id(spot)])  # type: ignore[misc]
            _place(row, [wanted[id(spot)] for spot in row])
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            _place(row, [_mean(spot.below + spot.above, spot.x) for spot in row])


def _mean(joined: Sequence[Spot], otherwise: float) -> float:
    """Their middle; where an arrow passes by counts more, so that long arrows are straight."""
    weights = [1 if spot.name else 4 for spot in joined]
    total = sum(weight * spot.x for weight, spot in zip(weights, joined, strict=True))
    return total / sum(weights) if joined else otherwise


def _place(row: Sequence[Spot], wanted: Sequence[float]) -> None:
    """The places nearest to the wanted ones, by least squares, that keep order and gaps."""
    shifts = [0.0]
    for one, next_one in pairwise(row):
        shifts.append(shifts[-1] + (one.width + next_one.width) / 2 + GAP)
    blocks: list[tuple[float, int]] = []  # pooled neighbours: the sum of what they want, and how many
    for want, shift in zip(wanted, shifts, strict=True):
        blocks.append((want - shift, 1))
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = blocks[-1][0] + total, blocks[-1][1] + count
    places = [total / count for total, count in blocks for _ in range(count)]
    for spot, place, shift in zip(row, places, shifts, strict=True):
        spot.x = round(place + shift, 3)
