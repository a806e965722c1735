"""Live progress of an experiment: a bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from samplewise.report.measure import ACCURACY, LOSS, PEARSON

EVERY = 10.0
"""Seconds between two lines about a run, where there is no terminal for a bar."""


class Watch:
    """Shows which run is under way, its accuracy, and how long all of them will take.

    Args:
        console: where it shows them.
        runs: how many there are.
        heads: lines to print before the first run. A command that is refused prints none of them.
    """

    def __init__(self, console: Console, runs: int, heads: Sequence[str] = ()) -> None:
        self.console, self.runs, self.heads = console, runs, list(heads)
        self.finished = 0
        self.run = self.state = ""
        self.next_line = time.monotonic() + EVERY
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=float(runs), state="")

    def __enter__(self) -> "Watch":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def began(self, method: str, seed: int) -> None:
        """A run starts or continues."""
        self._open()
        self.run, self.state = f"run {self.finished + 1}/{self.runs}  {method}, seed {seed}", ""
        self.bar.update(self.task, description=escape(self.run), state="")

    def stepped(self, progress: float) -> None:
        """Move the bar to the share of all runs that is done."""
        self.bar.update(self.task, completed=self.finished + progress)
        if not self.console.is_terminal and time.monotonic() >= self.next_line:
            self._print(f"{'':9}{escape(self.run)}: {100 * progress:.0f} % done{self.state}")

    def epoch_ended(self, row: dict[str, Any]) -> None:
        """Show the newest result."""
        state = f"epoch {row['epoch']}/{row['epochs']}  {_measured(row, short=True)}"
        self.state = f", {state}"
        self.bar.update(self.task, state=state)

    def scored(self, row: dict[str, Any]) -> None:
        """Print a line for a finished scoring run."""
        methods = f"{len(row['methods'])} method" + "s" * (len(row["methods"]) > 1)
        self._finished(
            f"scoring, seed {row['seed']}: {methods} from {row['epochs']} epochs in {row['seconds']:.1f} s"
        )

    def ended(self, row: dict[str, Any]) -> None:
        """Print a line for a finished run."""
        self._finished(f"{row['method']}, seed {row['seed']}: {_measured(row)} in {row['seconds']:.1f} s")

    def _open(self) -> None:
        """Print the heads, once."""
        while self.heads:
            self.console.print(self.heads.pop(0), style="dim", soft_wrap=True, markup=False)

    def _finished(self, line: str) -> None:
        self._open()
        self.finished += 1
        self.bar.update(self.task, completed=float(self.finished))
        self._print(f"[dim]{self.finished:>3}/{self.runs}[/]  {escape(line)}")

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)
        self.next_line = time.monotonic() + EVERY


class Working:
    """Shows how far one long step is: a bar in a terminal, a line every 10 seconds elsewhere.

    Args:
        console: where it shows it.
        what: the step.
    """

    def __init__(self, console: Console, what: str) -> None:
        self.console, self.what = console, what
        self.next_line = time.monotonic() + EVERY
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task(escape(what), total=1.0)

    def __enter__(self) -> "Working":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, share: float) -> None:
        """Show that this share of the step is done."""
        self.bar.update(self.task, completed=share)
        if not self.console.is_terminal and time.monotonic() >= self.next_line:
            self.console.print(f"{self.what}: {100 * share:.0f} % done", markup=False, soft_wrap=True)
            self.next_line = time.monotonic() + EVERY


def _measured(row: dict[str, Any], short: bool = False) -> str:
    """The result of a row that is shown: the accuracy, the correlation of a regression, or else the loss.

    `short`: with one digit less.
    """
    measure = next(measure for measure in (ACCURACY, PEARSON, LOSS) if measure.key in row)
    return measure.said(row[measure.key], measure.digits - short)
