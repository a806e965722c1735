"""`Trainer`: what a study needs of the training that it judges."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from samplewise.bench.study.jobs import Job

__all__ = ["OnStep", "Trainer"]

OnStep = Callable[[float], None]
"""Called with the finished share of a run, in [0, 1]."""


@runtime_checkable
class Trainer(Protocol):
    """Runs the jobs of a study. A copy of it goes to every process, so it must be picklable."""

    def task(self) -> dict[str, Any]:
        """All that decides a result, apart from method, epochs, seed and learning rate, as JSON."""

    def metrics(self) -> tuple[str, ...]:
        """The results that a run has; empty if they are known only after the first run."""

    def check(self, methods: Sequence[str]) -> None:
        """Raise if a method cannot run on this task. Called before the first run."""

    def run(self, job: Job, on_step: OnStep) -> dict[str, Any]:
        """Do a run, or continue one that was stopped, and return the content of its row."""

    def finished(self, job: Job) -> None:
        """The row of a run is on disk: what it needed to continue can go. It may have gone before."""
