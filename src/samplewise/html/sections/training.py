"""Results during training: a line for each method."""

from collections.abc import Iterator

from samplewise.html.blocks import Block, Chart, Heading, Section, Words
from samplewise.html.charts import lines
from samplewise.html.facts import Facts

__all__ = ["section"]


def section(facts: Facts) -> Section:
    """The curves of every folder."""
    return Section("curves", "During training", list(_blocks(facts)))


def _blocks(facts: Facts) -> Iterator[Block]:
    if not facts.comparisons:
        yield Words("No result during training is known.", "note")
    for one in facts.comparisons:
        if len(facts.comparisons) > 1:
            yield Heading(one.title)
        values = [
            {"name": curve.method, "x": x, "y": y}
            for curve in one.curves
            for x, y in zip(curve.x, curve.mean, strict=True)
        ]
        if values:
            said = "Means over seeds after each tested epoch, against the cost so far."
            yield Chart(
                lines(values, "cost so far, % of full training", one.curves_result or one.result or "result"),
                said,
            )
        else:
            yield Words("No result during training is known.", "note")
