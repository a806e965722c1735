"""The table of samples: sorts, filters, exports CSV."""

from collections.abc import Iterator

from samplewise.html.blocks import NO_RUN, Block, Rows, Section, Words
from samplewise.html.facts import Facts
from samplewise.html.rows import selected

__all__ = ["section"]


def section(facts: Facts) -> Section:
    """The rows that matter most, of all runs."""
    return Section("table", "Table of samples", list(_blocks(facts)))


def _blocks(facts: Facts) -> Iterator[Block]:
    found = selected(facts.runs)
    if not found.rows:
        yield NO_RUN
        return
    if len(found.rows) < found.n:
        yield Words(
            f"{len(found.rows):,} of {found.n:,} rows: the hardest, suspected wrong labels, samples "
            "that were never used, the easiest, and a random draw. The sections above count all samples."
        )
    files = [run.file for run in facts.runs if run.file]
    if files:
        yield Words(f"All rows: {', '.join(files)} beside this file.", "note")
    yield Rows(found.heads, found.numeric, found.rows, "samples")
