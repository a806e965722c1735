"""The distribution of every score, and the middle of each class."""

from collections.abc import Iterator

from samplewise.coresets.table import ScoreTable
from samplewise.html.blocks import NO_RUN, Block, Chart, Grid, Section, Words
from samplewise.html.charts import bars
from samplewise.html.facts import Facts, Run
from samplewise.html.picks import main_column
from samplewise.html.scores import QUANTILES, by_class, distribution
from samplewise.html.sections.runs import of_tables
from samplewise.html.sections.text import number, plural

__all__ = ["section"]

_DRAWN = 4
"""Scores of a run that are drawn. All are in the table."""
_CLASSES = 20


def section(facts: Facts) -> Section:
    """The scores of every run."""
    return Section("scores", "Scores", [*of_tables(facts.runs, _of_table)] or [NO_RUN])


def _of_table(run: Run, table: ScoreTable) -> Iterator[Block]:
    found = {name: distribution(values.double().numpy()) for name, values in table.columns.items()}
    known = {name: one for name, one in found.items() if one is not None}
    if not known:
        yield Words("This method stores no score of a sample.", "note")
    for name, one in list(known.items())[:_DRAWN]:
        values = [
            {"low": float(low), "high": float(high), "y": int(count)}
            for low, high, count in zip(one.edges, one.edges[1:], one.counts, strict=False)
        ]
        said = f"The distribution of {name} over {plural(int(one.counts.sum()), 'sample')}."
        said += f" {plural(one.beyond, 'sample')} beyond the axis." * (one.beyond > 0)
        said += f" {plural(one.unseen, 'sample')} without a number: never observed." * (one.unseen > 0)
        yield Chart(bars(values, name, "samples"), said)
    if known:
        heads = ["score", *(_quantile(q) for q in QUANTILES), "never observed"]
        rows = [[name, *(number(q) for q in one.quantiles), f"{one.unseen:,}"] for name, one in known.items()]
        yield Grid(heads, rows)
    yield from _classes(run, table)


def _quantile(share: float) -> str:
    return {0.0: "lowest", 0.5: "median", 1.0: "highest"}.get(share, f"{100 * share:g} %")


def _classes(run: Run, table: ScoreTable) -> Iterator[Block]:
    main = main_column(table)
    rows = by_class(table, main)
    if not rows:
        yield Words("No labels are known, so there is no table of classes.", "note")
        return
    ranked = sorted(rows, key=lambda row: (row.times, row.label))
    shown = ranked if len(rows) <= _CLASSES else [*ranked[: _CLASSES // 2], *ranked[-_CLASSES // 2 :]]
    heads = ["class", "samples", "times selected, mean", "never selected"]
    heads += [] if main is None else [f"{main}, median"]
    cells = [
        [
            run.class_name(row.label),
            f"{row.samples:,}",
            f"{row.times:.2f}",
            f"{row.never:,}",
            *([] if main is None else [number(row.median)]),
        ]
        for row in shown
    ]
    if len(shown) < len(rows):
        yield Words(f"Of {len(rows):,} classes those that were selected least and most.", "note")
    yield Grid(heads, cells)
