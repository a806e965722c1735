"""The output of `samplewise bench --dry-run`."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from samplewise.bench.study.estimate import Estimate
from samplewise.cli.study_progress import duration

__all__ = ["show_estimate"]


def show_estimate(found: Estimate, jobs: int, console: Console) -> None:
    """Print the missing runs, what each takes, and all of them together."""
    table = Table(box=box.SIMPLE_HEAD)
    for i, header in enumerate(("method", "runs", "cost of each", "time of each")):
        table.add_column(header, justify="right" if i else "left")
    for part in found.parts:
        cost = f"{100 * part.cost:.0f} %{' (assumed)' * part.assumed}"
        each = "not known" if part.seconds is None else duration(part.seconds)
        table.add_row(Text(part.name), str(part.runs), cost, each)
    if found.parts:
        console.print(table)
    took = (
        "a time that is not known before the first run" if found.seconds is None else duration(found.seconds)
    )
    at_once = "" if jobs == 1 else f" with {jobs} processes"
    lines = [
        f"{found.runs} runs to do, {found.finished} finished. They cost as much as {found.cost:.1f} full "
        f"trainings and take about {took}{at_once}, with about {found.memory / 2**30:.1f} GiB of memory.",
    ]
    if found.exact:
        lines.append(
            f"Exact controls between two rungs come on top: about {found.exact} runs of full training."
        )
    if any(part.assumed for part in found.parts):
        lines.append("Assumed: the cost is not known beforehand, so it is that of full training.")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
