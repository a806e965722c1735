"""Live progress of a study: a bar in a terminal, a line for each run elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from samplewise.bench.study.jobs import Job
from samplewise.bench.study.remaining import seconds_left
from samplewise.bench.study.running import said
from samplewise.bench.study.study import Study

__all__ = ["StudyWatch", "duration"]


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(8), duration(200), duration(20000)
    ('8 s', '3 min', '5 h 33 min')
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class StudyWatch:
    """Shows the runs of a study, and how long the rest will take.

    Args:
        console: where it shows them.
        study: whose rows give the time left.
        jobs: processes that run at the same time.
    """

    def __init__(self, console: Console, study: Study, jobs: int) -> None:
        self.console, self.study, self.jobs = console, study, jobs
        self.finished, self.runs = len(study.plan.rows), 0
        self.begun: dict[Job, float] = {}
        self.measured: list[tuple[float, float]] = []
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("starting", total=None, left="")
        self.opened = False

    def __enter__(self) -> "StudyWatch":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def began(self, job: Job, missing: int) -> None:
        """A run starts or continues. The first one shows the folder: a study that is refused has none."""
        if not self.opened:
            self.opened = True
            self.console.print(f"study folder {self.study.folder}", style="dim", soft_wrap=True, markup=False)
        self.begun[job] = time.monotonic()
        self.runs = self.finished + missing
        self.bar.update(
            self.task,
            description=escape(f"run {self.finished + 1}/{self.runs}  {job.named}"),
            total=float(self.runs),
            completed=float(self.finished),
            left=self._left(),
        )

    def stepped(self, progress: float) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=self.finished + progress)

    def ended(self, job: Job, row: Mapping[str, Any]) -> None:
        """Print a line for a finished run."""
        spent = time.monotonic() - self.begun.pop(job)
        self.measured.append((spent, row["wall"]))
        self.finished += 1
        spec = self.study.spec
        result = f"{spec.metric} {row['test'].get(spec.metric, float('nan')):.4g}"
        self._line(f"{job.named}: {result} in {spent:.1f} s")

    def failed(self, job: Job, error: Exception) -> None:
        """Print a line for a run that raised an error."""
        self.begun.pop(job)
        self._line(f"{job.named} failed: {said(error)}")

    def _line(self, text: str) -> None:
        left = self._left()
        self.console.print(
            f"[dim]{self.finished:>4}/{self.runs}[/]  {escape(text)}{left and f'; {left}'}",
            highlight=False,
            soft_wrap=True,
        )

    def _left(self) -> str:
        whole, said = (sum(times) for times in zip(*self.measured, strict=True)) if self.measured else (1, 1)
        left = seconds_left(self.study.plan, self.jobs, whole / said if said else 1.0)
        return f"about {duration(left)} left" if left else ""
