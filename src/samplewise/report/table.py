"""The result table of an experiment, for the terminal and as Markdown."""

from typing import TYPE_CHECKING

from samplewise.report.drawing import grid
from samplewise.report.measure import ACCURACY, Measure
from samplewise.report.summary import Summary

if TYPE_CHECKING:
    from rich.table import Table

HEADERS = (
    "method",
    ACCURACY.header,
    "samples back-propagated",
    "cost share",
    "wall clock saved",
    "selection overhead",
)
WITHOUT = ("cost share without scoring", "saved without scoring")
NOTES = {
    "spread": "± is the standard deviation over seeds.",
    "cost": "Cost share: forwards (1 each) and backwards (2 each), divided by those of ordinary training.",
    "saved": "Wall clock saved: compared with `full` with the same seed.",
    "estimated": "~: there is no `full` run to compare with, so this is estimated from the method's own full "
    "steps.",
    "overhead": "Selection overhead: scoring and selecting as a share of the wall clock.",
    "scored": "The cost, wall clock and overhead of a coreset include its whole scoring run, even if several "
    "methods share it. The columns on the right do not include it.",
}


def headers(summaries: list[Summary], measure: Measure = ACCURACY) -> tuple[str, ...]:
    """The headers of the columns. There are two more if coresets have a scoring run."""
    mine = tuple(measure.header if header == ACCURACY.header else header for header in HEADERS)
    return mine + WITHOUT if any(s.scored for s in summaries) else mine


def cells(summary: Summary, columns: int = len(HEADERS), measure: Measure = ACCURACY) -> tuple[str, ...]:
    """One row of the table as text."""
    spread = "" if summary.spread is None else f" +- {summary.spread:.{measure.digits}f}"
    row = (
        summary.method,
        f"{summary.accuracy:.{measure.digits}f}{spread}",
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
    """Notes that explain the table. Only those that apply are returned."""
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


def markdown(summaries: list[Summary], measure: Measure = ACCURACY) -> str:
    """The table as Markdown, with numbers aligned to the right."""
    top = headers(summaries, measure)
    body = [cells(summary, len(top), measure) for summary in summaries]
    rows = [top, ("---", *["---:"] * (len(top) - 1)), *body]
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row).replace("+-", "±") + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def terminal(
    summaries: list[Summary], title: str, measure: Measure = ACCURACY, width: int = 200
) -> list["Table"]:
    """The table for a terminal (rich) of `width` characters. A narrow one gets several tables."""
    top = headers(summaries, measure)
    rows = [[cell.replace("+-", "±") for cell in cells(summary, len(top), measure)] for summary in summaries]
    return grid(top, rows, width, title)


def in_words(summaries: list[Summary], measure: Measure = ACCURACY) -> str:
    """What the table says, in a sentence. It judges nothing: that takes `--controls`."""
    full = next((s for s in summaries if s.method == "full"), None)
    others = [s for s in summaries if s is not full]
    if not others:
        return "" if full is None else f"full reaches {measure.said(full.accuracy)} {measure.name}."
    best = (max if measure.higher else min)(others, key=lambda s: s.accuracy)
    said = f"{best.method} reaches {measure.said(best.accuracy)} {measure.name}"
    if full is not None:
        said += f", full {measure.said(full.accuracy)}"
    if len(others) > 1:
        word = "most" if measure.higher else "least"
        said += f". That is the {word} of the {len(others)} methods" + " beside full" * (full is not None)
    said += f". {best.method} costs {_percent(best.cost_share)} of ordinary training"
    if best.saved is not None:
        about = "about " * (best.baseline == "estimated")
        more, share = ("less", best.saved) if best.saved >= 0 else ("more", -best.saved)
        said += f" and takes {about}{_percent(share)} {more} time"
    return f"{said}. This is no verdict: --controls judges methods at the same cost."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _saved(summary: Summary, share: float | None) -> str:
    if summary.method == "full":
        return "-"
    if share is None:
        return "not measured"
    return ("~" if summary.baseline == "estimated" else "") + _percent(share)
