"""Doing the runs of a study, in this process or in several."""

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol, runtime_checkable

from samplewise.bench.study.cache import Row
from samplewise.bench.study.jobs import Job, canonical
from samplewise.bench.study.plan import Plan
from samplewise.bench.study.trainer import OnStep, Trainer

__all__ = ["Failure", "Watcher", "do_all", "said"]

Failure = tuple[Job, Exception]
_HOPELESS = 3


def said(error: Exception) -> str:
    """An error as a sentence in one line. The library's own errors need no name.

    >>> said(KeyError("x")), said(ValueError("lr must be > 0, got 0"))
    ("KeyError: 'x'.", 'lr must be > 0, got 0.')
    """
    text = " ".join(str(error).split()).removesuffix(".")
    named = isinstance(error, ValueError) and text
    return f"{text}." if named else f"{type(error).__name__}{text and f': {text}'}."


@runtime_checkable
class Watcher(Protocol):
    """Callbacks for the progress of a study."""

    def began(self, job: Job, missing: int) -> None:
        """A run starts or continues; `missing` runs are known to be left, with this one."""

    def stepped(self, progress: float) -> None:
        """The run has done a step; `progress` is its finished share. Not called with several processes."""

    def ended(self, job: Job, row: Row) -> None:
        """A run is finished and on disk."""

    def failed(self, job: Job, error: Exception) -> None:
        """A run raised an error. The others go on."""


def do_all(plan: Plan, trainer: Trainer, watcher: Watcher, jobs: int) -> list[Failure]:
    """Do every missing run. A run that raises is left out, and the others go on.

    If the first three all raise, the training itself is wrong, and no further run starts.

    Returns:
        the runs that raised, with their errors.
    """
    failures: list[Failure] = []
    under_way: set[Job] = set()
    finished = 0
    for job in plan.jobs():  # a kill between a row and this call leaves what the run needed to continue
        if plan.rows.get(job) is not None:
            trainer.finished(job)
    with _Here(trainer, watcher) if jobs == 1 else _Pool(trainer, jobs) as runner:
        while True:
            raised = {job for job, _ in failures}
            hopeless = not finished and len(failures) >= _HOPELESS
            wanted = [] if hopeless else [job for job in plan.missing() if job not in raised]
            for job in [job for job in wanted if job not in under_way][: jobs - len(under_way)]:
                watcher.began(job, len(wanted))
                under_way.add(job)
                runner.start(job)
            if not under_way:
                return failures
            for job, found in runner.collect():
                under_way.discard(job)
                if isinstance(found, Exception):
                    failures.append((job, found))
                    watcher.failed(job, found)
                else:
                    finished += 1
                    row = plan.rows.add(job, found)
                    trainer.finished(job)
                    watcher.ended(job, row)


Found = Row | Exception


class _Here:
    """One run at a time, in this process."""

    def __init__(self, trainer: Trainer, watcher: Watcher) -> None:
        self.trainer, self.watcher = trainer, watcher
        self.job: Job | None = None

    def __enter__(self) -> "_Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, job: Job) -> None:
        self.job = job

    def collect(self) -> Iterator[tuple[Job, Found]]:
        if self.job is not None:
            yield self.job, _attempt(self.trainer, self.job, self.watcher.stepped)


class _Pool:
    """Several runs at a time, each in a process of its own."""

    def __init__(self, trainer: Trainer, jobs: int) -> None:
        try:
            pickle.dumps(trainer)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"jobs must be 1 for this training, got {jobs}: it cannot be sent to another process "
                f"({error}). Define train at the top of a module."
            ) from None
        self.pool = ProcessPoolExecutor(
            jobs, get_context("spawn"), _begin, (trainer, os.getpid()), max_tasks_per_child=None
        )
        self.futures: dict[Future[Found], Job] = {}

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        # The pool forgets its processes when it shuts down.
        under_way = list((self.pool._processes or {}).values()) if self.futures else []
        self.pool.shutdown(wait=not self.futures, cancel_futures=True)
        for process in under_way:
            process.terminate()

    def start(self, job: Job) -> None:
        with _no_interrupt():
            self.futures[self.pool.submit(_in_process, job, canonical(job.method))] = job

    def collect(self) -> Iterator[tuple[Job, Found]]:
        done, _ = wait(self.futures, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                found = future.result()
            except BrokenProcessPool:
                raise ValueError(
                    "a process of the study was killed, perhaps because memory ran out. Finished runs are "
                    "kept; the same command continues. Use fewer --jobs if it happens again."
                ) from None
            yield self.futures.pop(future), found


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes that start inside never see Ctrl-C: it also reaches this process, which ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_trainer: Trainer | None = None


def _begin(trainer: Trainer, parent: int) -> None:
    """Prepare a process for runs. It ends when its parent does, so that no run goes on unseen."""
    global _trainer
    _trainer = trainer
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _in_process(job: Job, method: list[Any]) -> Found:
    if _trainer is None:
        raise RuntimeError("this process has no trainer: it must begin with _begin")
    if canonical(job.method) != method:
        return ValueError(f"the file of {job.method} has changed since the study started. Start it again.")
    found = _attempt(_trainer, job, lambda progress: None)
    return _sendable(found) if isinstance(found, Exception) else found


def _sendable(error: Exception) -> Exception:
    """The error as one that arrives in the other process, where its traceback is a note."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception class may need arguments that a copy does not get
        error = RuntimeError(said(error)).with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_exception(error)))
    return error


def _attempt(trainer: Trainer, job: Job, on_step: OnStep) -> Found:
    """The row of a run, or the error that it raised."""
    try:
        return trainer.run(job, on_step)
    except Exception as error:  # one run that fails must not stop the others; it is shown and counted
        return error
