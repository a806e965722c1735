"""Tables of lines and columns, in Markdown and for a terminal of any width."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Column", "as_markdown", "drawn", "grid"]

_GAP = 2
"""Spaces between two columns in a terminal."""
_LONGEST = 26
"""A longer word, such as a path, is broken into parts of this length."""


@dataclass(frozen=True)
class Column:
    """A column: its header, its cell in a line, and whether it is words, which may wrap."""

    header: str
    cell: Callable[[Any], str]
    words: bool = False


def drawn(
    columns: Sequence[Column],
    lines: Sequence[Any],
    width: int,
    title: str,
    kind: Callable[[Any], Any] = lambda line: None,
) -> list["Table"]:
    """The table for a terminal (rich). Where all columns do not fit, there are several tables.

    No number is cut. Words wrap.

    Args:
        columns: the first one names the line, and stands in every table.
        lines: what the rows are of.
        width: of the terminal, in characters.
        title: of every table; it may be empty.
        kind: of a line. A new kind begins a section.
    """
    return [_rich(group, lines, title, kind) for group in _fitting(columns, lines, width)]


def grid(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    title: str = "",
    words: Sequence[str] = (),
) -> list["Table"]:
    """The same for cells that are made. The first column is words.

    Args:
        headers: of the columns.
        rows: the cells. They may hold no line break.
        width: of the terminal, in characters.
        title: of every table.
        words: headers of further columns that may wrap.
    """

    def cell(i: int) -> Callable[[Sequence[str]], str]:
        return lambda row: row[i]

    columns = [Column(head, cell(i), not i or head in words) for i, head in enumerate(headers)]
    return drawn(columns, rows, width, title)


def as_markdown(columns: Sequence[Column], lines: Sequence[Any]) -> str:
    """A table in Markdown. Columns of words are on the left."""
    rows = [[column.cell(line).replace("|", "\\|") for column in columns] for line in lines]
    top = [column.header for column in columns]
    ruler = ["---" if column.words else "---:" for column in columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in (top, ruler, *rows))


def _pieces(text: str) -> list[str]:
    """The parts of a cell of words that a line of it can begin with: words, and parameters of a method."""
    found = re.findall(r"[^\s:,]*[:,]?\s*|\s+", text)[:-1]
    return [piece[i : i + _LONGEST] for piece in found for i in range(0, len(piece), _LONGEST)]


def _wrapped(text: str, width: int) -> str:
    """The text in lines of at most this width, if its pieces are not longer."""
    lines = [""]
    for piece in _pieces(text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _widths(column: Column, lines: Sequence[Any]) -> tuple[int, int]:
    """The width in which no number and no word is broken, and the width in which no line is."""
    cells = [column.cell(line) for line in lines]
    pieces = [piece.rstrip() for cell in cells for piece in (_pieces(cell) if column.words else [cell])]
    return max(map(len, [*column.header.split(), *pieces])), max(map(len, [column.header, *cells]))


def _fitting(columns: Sequence[Column], lines: Sequence[Any], width: int) -> list[list[tuple[Column, int]]]:
    """The columns and their widths, in groups that fit. Every group begins with the method."""
    first, *others = columns
    groups: list[list[Column]] = [[first]]
    for column in others:
        if _used([_widths(c, lines)[0] for c in [*groups[-1], column]]) > width and len(groups[-1]) > 1:
            groups.append([first])
        groups[-1].append(column)
    return [_spread(group, lines, width) for group in groups]


def _spread(group: list[Column], lines: Sequence[Any], width: int) -> list[tuple[Column, int]]:
    """Give the columns what is left of the width, the method last."""
    sizes = [_widths(column, lines) for column in group]
    left, found = width - _used([least for least, _ in sizes]), []
    for column, (least, best) in zip(reversed(group), reversed(sizes), strict=True):
        more = max(0, min(left, best - least))
        found.append((column, least + more))
        left -= more
    return found[::-1]


def _used(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _rich(
    columns: Sequence[tuple[Column, int]], lines: Sequence[Any], title: str, kind: Callable[[Any], Any]
) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        show_edge=False,
    )
    for column, width in columns:
        table.add_column(
            Text(column.header), justify="left" if column.words else "right", width=width, overflow="fold"
        )
    shown = [line for line in lines if any(column.cell(line) for column, _ in columns[1:])]
    for before, line in zip(shown[:1] + shown, shown, strict=False):
        if kind(before) != kind(line):
            table.add_section()
        cells = [(column, column.cell(line), width) for column, width in columns]
        table.add_row(*(Text(_wrapped(text, width) if c.words else text) for c, text, width in cells))
    return table
