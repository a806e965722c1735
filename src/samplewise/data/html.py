"""Small HTML tables for notebooks."""

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]


def html_table(rows: Iterable[Sequence[object]], heads: Sequence[str] = (), caption: str = "") -> str:
    """Return rows of cells as an HTML table. All text is escaped.

    >>> html_table([("<a>", 1)], caption="names")
    '<table><caption>names</caption><tr><td>&lt;a&gt;</td><td>1</td></tr></table>'
    """
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    top = _row("th", heads) if heads else ""
    return f"<table>{title}{top}{''.join(_row('td', row) for row in rows)}</table>"


def _row(kind: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(str(cell))}</{kind}>' for cell in cells)}</tr>"
