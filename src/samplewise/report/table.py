"""The table of an experiment: in the terminal, and as Markdown."""

from typing import TYPE_CHECKING

from samplewise.report.summary import Summary

if TYPE_CHECKING:
    from rich.table import Table

HEADERS = (
    "method",
    "test accuracy %",
    "samples back-propagated",
    "cost share",
    "wall clock saved",
    "selection overhead",
)
WITHOUT = ("cost share without scoring", "saved without scoring")
NOTES = {
    "spread": "± is the standard deviation over seeds.",
    "cost": "Cost share: forwards and backwards as a share of ordinary training's (a forward "
    "counts 1, a backward 2).",
    "saved": "Wall clock saved: against `full` with the same seed.",
    "estimated": "~: no `full` run to compare with, estimated from the method's own full steps.",
    "overhead": "Selection overhead: scoring and selecting as a share of the wall clock.",
    "scored": "A coreset's cost, wall clock and overhead include its scoring run, as if that had been "
    "done for it alone; the columns on the right leave it out.",
}


def headers(summaries: list[Summary]) -> tuple[str, ...]:
    """The columns: two more where coresets were scored in a run of their own."""
    return HEADERS + WITHOUT if any(s.scored for s in summaries) else HEADERS


def cells(summary: Summary, columns: int = len(HEADERS)) -> tuple[str, ...]:
    """One row of the table as text."""
    spread = "" if summary.spread is None else f" +- {summary.spread:.2f}"
    row = (
        summary.method,
        f"{summary.accuracy:.2f}{spread}",
        f"{round(summary.samples):,}",
        _percent(summary.cost_share),
        _saved(summary, summary.saved),
        _percent(summary.overhead),
    )
    if columns == len(HEADERS):
        return row
    if not summary.scored:
        return (*row, "", "")
    return (*row, _percent(summary.bare_cost_share), _saved(summary, summary.bare_saved))


def notes(summaries: list[Summary]) -> list[str]:
    """What a reader must know to read the table, as far as it applies."""
    seeds = sorted({s.seeds for s in summaries})
    count = " or ".join(map(str, seeds)) + (" seed" if seeds == [1] else " seeds")
    keys = ["cost"]
    if any(s.baseline == "given" and s.method != "full" for s in summaries):
        keys.append("saved")
    if any(s.baseline == "estimated" and s.method != "full" for s in summaries):
        keys.append("estimated")
    keys.append("overhead")
    if any(s.scored for s in summaries):
        keys.append("scored")
    spread = f" {NOTES['spread']}" if any(s.spread is not None for s in summaries) else ""
    return [f"{count}.{spread}", *(NOTES[key] for key in keys)]


def markdown(summaries: list[Summary]) -> str:
    """The table as Markdown, numbers to the right."""
    top = headers(summaries)
    body = [cells(summary, len(top)) for summary in summaries]
    rows = [top, ("---", *["---:"] * (len(top) - 1)), *body]
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row).replace("+-", "±") + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def terminal(summaries: list[Summary], title: str) -> "Table":
    """The table for a terminal (rich)."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    top = headers(summaries)
    rows = [[cell.replace("+-", "±") for cell in cells(summary, len(top))] for summary in summaries]
    for i, header in enumerate(top):
        # A narrow terminal breaks the headers, never a number.
        width = max(len(row[i]) for row in rows)
        table.add_column(header, justify="right" if i else "left", min_width=width)
    for row in rows:
        table.add_row(*map(Text, row))  # a name may hold brackets, which are no markup
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _saved(summary: Summary, share: float | None) -> str:
    if summary.method == "full":
        return "-"
    if share is None:
        return "not measured"
    return ("~" if summary.baseline == "estimated" else "") + _percent(share)
