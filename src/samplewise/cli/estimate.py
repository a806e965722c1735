"""The output of `samplewise bench --dry-run`."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from samplewise.bench.study.estimate import Estimate
from samplewise.cli.study_progress import duration

__all__ = ["show_estimate", "show_sum"]


def show_estimate(found: Estimate, jobs: int, console: Console, name: str) -> None:
    """Print the missing runs, what each takes, and all of them together.

    Args:
        found: the estimate.
        jobs: processes that run at the same time.
        console: of the command.
        name: of the study, with its scale and its part.
    """
    console.print(name, style="bold", markup=False)
    table = Table(box=box.SIMPLE_HEAD)
    for i, header in enumerate(("method", "runs", "cost of each", "time of each")):
        table.add_column(header, justify="right" if i else "left")
    for part in found.parts:
        cost = f"{100 * part.cost:.0f} %{' (assumed)' * part.assumed}"
        each = "not known" if part.seconds is None else duration(part.seconds)
        table.add_row(Text(part.name), str(part.runs), cost, each)
    if found.parts:
        console.print(table)
    lines = [
        f"{found.runs} runs to do, {found.finished} finished. They cost as much as {found.cost:.1f} full "
        f"trainings and take about {_took([found], jobs)}, with about {found.memory / 2**30:.1f} GiB of "
        "memory.",
    ]
    if found.exact:
        lines.append(
            f"Exact controls between two rungs come on top: about {found.exact} runs of full training."
        )
    if any(part.assumed for part in found.parts):
        lines.append("Assumed: the cost is not known beforehand, so it is that of full training.")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def show_sum(found: Sequence[Estimate], jobs: int, console: Console) -> None:
    """Print what the parts of a study take together."""
    runs, cost = sum(part.runs for part in found), sum(part.cost for part in found)
    console.print(
        f"All {len(found)} parts: {runs} runs to do. They cost as much as {cost:.1f} full trainings and take "
        f"about {_took(found, jobs)}.",
        soft_wrap=True,
        markup=False,
    )


def _took(found: Sequence[Estimate], jobs: int) -> str:
    seconds = [part.seconds for part in found if part.seconds is not None]
    if len(seconds) < len(found):
        return "a time that is not known before the first run"
    return duration(sum(seconds)) + ("" if jobs == 1 else f" with {jobs} processes")
