"""The methods beside one another: paired differences with their verdicts, and a table."""

from collections.abc import Iterator

from samplewise.html.blocks import Block, Chart, Grid, Heading, Section, Words
from samplewise.html.charts import PALETTE, chart, layer, quantitative, title_of
from samplewise.html.facts import Comparison, Facts

__all__ = ["section"]


def section(facts: Facts) -> Section:
    """A table for each folder."""
    return Section("comparison", "Comparison of runs", list(_blocks(facts)))


def _blocks(facts: Facts) -> Iterator[Block]:
    if not facts.comparisons:
        yield Words("There is nothing to compare.", "note")
    for one in facts.comparisons:
        if len(facts.comparisons) > 1:
            yield Heading(one.title)
        if one.differences:
            yield _forest(one)
        if one.rows:
            yield Grid(one.heads, one.rows)
        else:
            yield Words("There is one run, so there is nothing to compare.", "note")
        for note in one.notes:
            yield Words(note, "note")


def _forest(one: Comparison) -> Chart:
    """The differences with their intervals. The band is smaller than delta."""
    order = [found.name for found in one.differences]
    values = [
        {"name": found.name, "x": found.mean, "low": found.low, "high": found.high, "word": found.word}
        for found in one.differences
    ]
    words = ["better", "as good", "not shown", "worse"]
    y = {"field": "name", "type": "nominal", "title": None, "sort": order, "axis": {"labelLimit": 170}}
    colour = {
        "field": "word", "type": "nominal", "title": None,
        "scale": {"domain": words, "range": [PALETTE[2], "var(--ink)", "var(--soft)", PALETTE[1]]},
    }  # fmt: skip
    shape = colour | {
        "scale": {"domain": words, "range": ["triangle-up", "square", "circle", "triangle-down"]}
    }
    x = quantitative("x", "difference to full training of the same cost, right is better")
    seen = title_of(
        ("name", "method"), ("word", "verdict"), ("x", "difference"), ("low", "from"), ("high", "to")
    )
    band = [{"low": -one.delta, "high": one.delta}]
    layers = [
        layer(
            band,
            {"type": "rect", "color": "var(--band)", "opacity": 0.5},
            x={"field": "low", "type": "quantitative"},
            x2={"field": "high"},
        ),
        layer(
            values,
            {"type": "rule", "strokeWidth": 1.5},
            y=y,
            x={"field": "low", "type": "quantitative"},
            x2={"field": "high"},
            color=colour,
        ),
        layer(
            values,
            {"type": "point", "filled": True, "size": 70, "opacity": 1},
            y=y,
            x=x,
            color=colour,
            shape=shape,
            tooltip=seen,
        ),
    ]
    said = (
        "Mean paired difference to full training of the same cost, with its 95 % interval, which is not "
        f"adjusted for the number of methods. Verdicts are. The band: smaller than {one.delta:g}."
    )
    return Chart(chart({"layer": layers}, 18 * len(order)), said)
