"""Always, sometimes, never: how often samples were selected."""

from collections.abc import Iterator

from samplewise.coresets.table import ScoreTable
from samplewise.html.blocks import NO_RUN, Block, Chart, Numbers, Section
from samplewise.html.charts import bars
from samplewise.html.choices import choices
from samplewise.html.facts import Facts, Run
from samplewise.html.sections.runs import of_tables
from samplewise.html.sections.text import percent

__all__ = ["section"]


def section(facts: Facts) -> Section:
    """The three groups of every run."""
    return Section("choices", "Always, sometimes, never", [*of_tables(facts.runs, _of_table)] or [NO_RUN])


def _of_table(_: Run, table: ScoreTable) -> Iterator[Block]:
    found = choices(table)
    pairs = [
        (percent(share), f"{name} selected" + _chance(found.chance.get(name)))
        for name, share in found.shares.items()
    ]
    yield Numbers(pairs)
    values = [{"low": low, "high": high, "y": count} for low, high, count, _ in found.bins]
    beside = [
        {"x": (low + high) / 2, "y": expected}
        for low, high, _, expected in found.bins
        if expected is not None
    ]
    drawn = bars(values, "times selected", "samples", beside=beside, beside_name="by chance", counts=True)
    yield Chart(drawn, found.said)


def _chance(share: float | None) -> str:
    return "" if share is None else f" (by chance {percent(share)})"
