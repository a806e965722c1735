"""Published numbers beside ours: the comparison, and its table."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from samplewise.bench.study.jobs import FULL
from samplewise.bench.study.published import TIME_SAVED, Published, full_line
from samplewise.bench.study.results import Line, Results
from samplewise.report.drawing import Column, as_markdown, drawn

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["markdown", "notes", "put_beside", "terminal"]

_TITLE = "published numbers beside ours"


def put_beside(found: Iterable[Published], results: Results) -> tuple[Published, ...]:
    """The published numbers with ours."""
    lines = {line.name: line for line in results.lines}
    whole = lines.get(full_line(results.epochs))
    return tuple(_beside(row, whole if row.method == FULL else lines.get(row.method), whole) for row in found)


def _beside(row: Published, line: Line | None, whole: Line | None) -> Published:
    ours, full = _ours(row, line), _ours(row, whole)
    if line is None or ours is None:
        return row
    return replace(
        row, ours=ours[0], ours_spread=ours[1], ours_full=None if full is None else full[0], seeds=line.seeds
    )


def _ours(row: Published, line: Line | None) -> tuple[float, float | None] | None:
    """Our number of a method: its mean and its spread."""
    if line is None:
        return None
    if row.metric == TIME_SAVED:
        return 100 * (1 - line.seconds), None
    return line.results.get(row.metric)


def markdown(results: Results) -> str:
    """The section of the report; empty without published numbers."""
    if not results.published:
        return ""
    rows, parts = _rows(results), [f"## {results.name}: {_TITLE}"]
    parts += [as_markdown(_columns(rows), rows)] if rows else []
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(results))]) + "\n"


def terminal(results: Results, width: int) -> list["Table"]:
    """The tables for a terminal (rich)."""
    rows = _rows(results)
    return (
        drawn(_columns(rows), rows, width, f"{results.name}: {_TITLE}", lambda row: row.kind) if rows else []
    )


def notes(results: Results) -> list[str]:
    """What the table does not mean."""
    if not results.published:
        return []
    found = [
        "Published numbers are those of the paper: its model, its data, its epochs. Ours are those of this "
        "study, which may differ in all of them. Compare the order of the methods, and the differences to "
        "full training. No verdict uses published numbers."
    ]
    said = [row for row in results.published if not row.method]
    found += [f"{row.source} ({row.setting}) says: {row.text}" for row in said]
    if any("?" in row.text for row in _rows(results)):
        found.append("? is a digit that cannot be read in the source.")
    return found


def _rows(results: Results) -> list[Published]:
    """The published numbers, without what is said in words."""
    return [row for row in results.published if row.method]


def _columns(rows: list[Published]) -> list[Column]:
    """The columns that have something to show."""
    columns = [
        Column("method", lambda row: row.method, words=True),
        Column("source", lambda row: row.source, words=True),
        Column("setting", lambda row: row.setting, words=True),
        Column("metric", _metric, words=True),
        Column("published", lambda row: row.text),
        Column("published - full", lambda row: _difference(row, row.value, row.full)),
        Column("ours", _ours_text),
        Column("ours - full", lambda row: _difference(row, row.ours, row.ours_full)),
        Column("seeds", lambda row: str(row.seeds or "")),
    ]
    return [column for column in columns if any(map(column.cell, rows))]


def _metric(row: Published) -> str:
    return f"{row.metric} - full" if row.difference else row.metric


def _difference(row: Published, value: float | None, full: float | None) -> str:
    if row.method == FULL or row.metric == TIME_SAVED or value is None:
        return ""
    if row.difference and value is row.value:
        return f"{value:+.2f}"
    return "" if full is None else f"{value - full:+.2f}"


def _ours_text(row: Published) -> str:
    if row.ours is None:
        return ""
    return f"{row.ours:.2f}" + ("" if row.ours_spread is None else f" ±{row.ours_spread:.2f}")
