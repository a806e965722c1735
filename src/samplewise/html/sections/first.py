"""The first screen: the verdict in words, results against cost, what was saved, where the time went."""

from collections.abc import Iterator, Sequence
from typing import Any

from samplewise.html.blocks import Block, Chart, Grid, Heading, Numbers, Section, Words
from samplewise.html.charts import PALETTE, SHAPES, chart, layer, quantitative, title_of
from samplewise.html.facts import Comparison, Facts, Spent
from samplewise.html.sections.text import percent, seconds
from samplewise.report.against_cost import Point, rungs_near

__all__ = ["section"]

_COST = "cost, % of full training"
_FEW = 2
"""Up to so many methods, what was saved stands in large numbers."""
_DRAWN = 15
"""Methods whose time is drawn."""


def section(facts: Facts) -> Section:
    """What a reader sees first."""
    return Section("verdict", "Verdict", list(_blocks(facts)))


def _blocks(facts: Facts) -> Iterator[Block]:
    if not facts.comparisons:
        yield Words("There is nothing to compare.", "note")
    for one in facts.comparisons:
        if len(facts.comparisons) > 1:
            yield Heading(one.title)
        for sentence in one.said:
            yield Words(sentence, "lead")
        if len(one.spent) <= _FEW:
            for spent in one.spent:
                yield _large(spent, len(one.spent) > 1, one.unit)
        yield from _against_cost(one)
        if one.spent:
            yield _saved(one)
            yield _time(one)


def _large(spent: Spent, named: bool, unit: str) -> Numbers:
    of = f" by {spent.name}" if named else ""
    pairs = [
        (percent(spent.promised), f"of the cost saved{of} (promised)"),
        (_realised(spent), f"of the wall clock saved{of} (realised)"),
    ]
    if unit == "seconds":
        pairs.append((seconds(sum(spent.time.values())), f"in all{of}"))
    return Numbers(pairs)


def _realised(spent: Spent) -> str:
    return "~" * (spent.estimated and spent.realised is not None) + percent(spent.realised)


def _stages(one: Comparison) -> list[str]:
    """Those of the method that has the most come first."""
    longest = sorted(one.spent, key=lambda spent: -len(spent.time))
    return list(dict.fromkeys(stage for spent in longest for stage in spent.time))


def _saved(one: Comparison) -> Grid:
    """Promised and realised, and the time of each stage."""
    stages, short = _stages(one), "s" if one.unit == "seconds" else "%"
    heads = ["method", "saved, promised", "saved, realised", *(f"{stage}, {short}" for stage in stages)]
    rows = [
        [
            spent.name,
            percent(spent.promised),
            _realised(spent),
            *(f"{spent.time.get(stage, 0.0):.4g}" for stage in stages),
        ]
        for spent in one.spent
    ]
    return Grid(heads, rows)


def _time(one: Comparison) -> Chart:
    shown, stages = one.spent[:_DRAWN], _stages(one)
    values = [
        {"name": spent.name, "stage": stage, "time": spent.time.get(stage, 0.0), "order": i}
        for spent in shown
        for i, stage in enumerate(stages)
    ]
    body = layer(
        values,
        {"type": "bar"},
        y={
            "field": "name", "type": "nominal", "title": None, "axis": {"labelLimit": 150},
            "sort": [spent.name for spent in shown],
        },
        x=quantitative("time", one.unit, zero=True, stack="zero"),
        color={"field": "stage", "type": "nominal", "title": None, "sort": stages},
        order={"field": "order"},
        tooltip=title_of(("name", "method"), ("stage", "stage"), ("time", one.unit)),
    )  # fmt: skip
    said = (
        "Where the time went. Promised: the share of the cost of ordinary training that is saved, counted in "
        "forwards and backwards. Realised: the share of its wall clock."
    )
    if any(spent.estimated and spent.realised is not None for spent in one.spent):
        said += " ~: the time of ordinary training is estimated from this run."
    if len(shown) < len(one.spent):
        said += f" Drawn: the first {len(shown)} of {len(one.spent)} methods."
    return Chart(chart(body, 24 * len(shown)), said)


def _against_cost(one: Comparison) -> Iterator[Block]:
    points = [*one.points, *one.full, *one.controls]
    if not one.result or not points:
        yield Words(
            "No result on test data is known, so there is no picture of results against cost.", "note"
        )
        return
    full = rungs_near(one.full, [*one.points, *one.controls])
    layers = [*_ladder(full), *_controls(one.controls), *_methods(one.points)]
    # An interval may reach beyond what a share can be.
    scale = {"domainMax": 100} if one.result.endswith("%") and _highest(points) > 100 else {}
    for part in layers:
        part["mark"]["clip"] = part["mark"]["type"] in ("rule", "area")
        part["encoding"] = {
            "x": quantitative("x", _COST),
            "y": quantitative("y", one.result, scale=scale),
        } | part["encoding"]
    halves = any(point.y_half for point in points)
    better, worse = ("up", "below") if one.higher else ("down", "above")
    said = f"Each point is a method: its result against its cost; {better} and left is better."
    if len(full) > 1:
        said += f" The line is full training of other lengths, the ladder: a point {worse} it lost to a "
        said += "shorter training."
    if one.controls:
        said += " Grey: random controls."
    said += " Bars are 95 % intervals of the means over seeds." * halves
    yield Chart(chart({"layer": layers}, 260), said)


def _highest(points: Sequence[Point]) -> float:
    return max(point.y + point.y_half for point in points)


def _values(points: Sequence[Point]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{point.name} ({point.note})" if point.note else point.name,
            "x": point.x,
            "y": point.y,
            "left": point.x - point.x_half,
            "right": point.x + point.x_half,
            "low": point.y - point.y_half,
            "high": point.y + point.y_half,
        }
        for point in points
    ]


_SEEN = title_of(("name", "method"), ("x", _COST), ("y", "result"), ("low", "from"), ("high", "to"))


def _ladder(full: Sequence[Point]) -> Iterator[dict[str, Any]]:
    values = _values(full)
    if len(full) > 1:
        band = {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}
        yield layer(values, {"type": "area", "color": "var(--band)", "opacity": 0.6}, **band)
        yield layer(values, {"type": "line", "color": "var(--ink)", "strokeWidth": 1.5})
    if full:
        mark = {"type": "point", "filled": True, "color": "var(--ink)", "size": 40, "opacity": 1}
        yield layer(values, mark, tooltip=_SEEN)
        text = {"type": "text", "align": "left", "dx": 7, "dy": 8, "fontSize": 11, "color": "var(--soft)"}
        yield layer(values[-1:], text, text={"field": "name"})


def _controls(controls: Sequence[Point]) -> Iterator[dict[str, Any]]:
    if controls:
        mark = {"type": "point", "color": "var(--soft)", "size": 45, "strokeWidth": 1.5, "opacity": 1}
        yield layer(_values(controls), mark, tooltip=_SEEN)


def _methods(points: Sequence[Point]) -> Iterator[dict[str, Any]]:
    values = _values(points)
    if not values:
        return
    names = [row["name"] for row in values]
    colour = {
        "field": "name", "type": "nominal", "title": None,
        "scale": {"domain": names, "range": [PALETTE[i % len(PALETTE)] for i in range(len(names))]},
    }  # fmt: skip
    shape = colour | {
        "scale": {"domain": names, "range": [SHAPES[i % len(SHAPES)] for i in range(len(names))]}
    }
    upright = {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "color": colour}
    level = {"x": {"field": "left", "type": "quantitative"}, "x2": {"field": "right"}, "color": colour}
    yield layer(values, {"type": "rule", "strokeWidth": 1.5}, **upright)
    yield layer(values, {"type": "rule", "strokeWidth": 1.5}, **level)
    mark = {"type": "point", "filled": True, "size": 90, "opacity": 1}
    yield layer(values, mark, color=colour, shape=shape, tooltip=_SEEN)
