"""The output of --dry-run: the missing runs, what each takes, and all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from samplewise.bench.study.estimate import Estimate
from samplewise.cli.study_progress import duration
from samplewise.report.drawing import grid

__all__ = ["document", "show_estimate", "sum_of", "takes"]


def show_estimate(found: Estimate, console: Console, name: str) -> None:
    """Print the table of the missing runs, and what is to be known of its numbers.

    Args:
        found: the estimate.
        console: of the command.
        name: of the study or of the data.
    """
    rows = []
    for part in (*found.parts, *found.scoring):
        cost = f"{100 * part.cost:.0f} %{' (assumed)' * part.assumed}"
        each = "not known" if part.seconds is None else duration(part.seconds)
        rows.append((part.name, str(part.runs), cost, each))
    headers = ("method", "runs", "cost of each", "time of each")
    for drawn in grid(headers, rows, console.width, name) if rows else ():
        console.print(drawn)
        console.print()
    if found.exact:
        console.print(
            f"Exact controls between two rungs come on top: about {found.exact} runs of full training.",
            soft_wrap=True,
        )
    if any(part.assumed for part in found.parts):
        console.print(
            "Assumed: the cost is not known beforehand, so it is that of full training.", soft_wrap=True
        )


def takes(found: Estimate, jobs: int = 1) -> str:
    """The runs, their cost, time and memory in words."""
    scoring = sum(part.runs for part in found.scoring)
    more = f" and {scoring} scoring run{'s' * (scoring > 1)}" if scoring else ""
    units = "" if found.unit is None else f" ({round(found.cost * found.unit):,} forwards)"
    memory = f"{found.memory / 2**30:.1f} GiB of memory"
    return (
        f"{found.runs} runs{more} to do, {found.finished} finished. They cost as much as {found.cost:.1f} "
        f"full trainings{units} and take about {_took([found], jobs)}, with about {memory}."
    )


def sum_of(found: Sequence[Estimate], jobs: int) -> str:
    """What the parts of a study take together, in words."""
    runs, cost = sum(part.runs for part in found), sum(part.cost for part in found)
    return (
        f"All {len(found)} parts: {runs} runs to do. They cost as much as {cost:.1f} full trainings and take "
        f"about {_took(found, jobs)}."
    )


def document(found: Estimate) -> Mapping[str, Any]:
    """The estimate as plain values: costs in full trainings and in forwards, seconds, bytes."""
    forwards = None if found.unit is None else found.cost * found.unit
    told = asdict(found)
    memory = told.pop("memory")
    return told | {"runs": found.runs, "cost": found.cost, "forwards": forwards, "memory_bytes": memory}


def _took(found: Sequence[Estimate], jobs: int) -> str:
    seconds = [part.seconds for part in found if part.seconds is not None]
    if len(seconds) < len(found):
        return "a time that is not known before the first run"
    return duration(sum(seconds)) + ("" if jobs == 1 else f" with {jobs} processes")
