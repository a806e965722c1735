"""Kills runs with signal 9, starts them again, and compares them with the run that was not killed."""

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import faults_train
from faults_watch import STEP, WRITE, Watch

TIMEOUT = 120.0
"""The longest time that one training may take, in seconds."""


@dataclass(frozen=True)
class Case:
    """One combination of loop, number of workers and recipe."""

    framework: str
    workers: int
    policy: str
    epochs: int


@dataclass
class Attempt:
    """What one process did before it ended or was killed, read from its log.

    `start` is the number of the first step, or None if the process was killed before its first step.
    """

    killed: bool
    output: str
    start: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, str] | None = None

    @property
    def steps(self) -> list[list[int]]:
        """The ids of every training step."""
        return [event["ids"] for event in self.events if event["kind"] == STEP]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind. Changes to files before the first step are not part of a checkpoint."""
        first = next(event["n"] for event in self.events if event["kind"] == STEP)
        return [
            event for event in self.events if event["kind"] == kind and (kind != WRITE or event["n"] > first)
        ]


def attempt(case: Case, folder: Path, stop: int | None = None, after: float | None = None) -> Attempt:
    """Fork a process from this one, which has imported everything. The process trains what is left.

    Args:
        case: what to train.
        folder: where its checkpoints are.
        stop: the number of the event at which it is killed.
        after: the seconds after which it is killed, at any event.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, said = folder.with_suffix(".log"), folder.with_suffix(".out")
    heard, ready = os.pipe()
    begun = time.monotonic()
    if not (child := os.fork()):
        _train(case, Watch(_new(log), folder, stop, ready), said)
    os.close(ready)
    try:
        killed = _attend(child, heard, after)
    finally:
        os.close(heard)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # do not wait until workers notice the dead parent
    result = Attempt(killed, said.read_text())
    for line in log.read_text().splitlines():
        told = json.loads(line)
        result.start = told.get("start", result.start)
        result.end = told.get("end", result.end)
        if "kind" in told:
            result.events.append(told | {"at": told["at"] - begun})
    return result


def _new(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)


def _train(case: Case, watch: Watch, said: Path) -> None:
    """In the child process: train, and exit without the parent's exit handlers."""
    code = 1
    try:
        os.setsid()
        output = _new(said)
        os.dup2(output, 1)
        os.dup2(output, 2)
        job = faults_train.Job(case.policy, case.workers, case.epochs, watch.folder, watch)
        faults_train.run(case.framework, job)
        code = 0
    except BaseException:  # the parent reads every error
        traceback.print_exc()
    finally:
        os._exit(code)


def _attend(child: int, heard: int, after: float | None) -> bool:
    """Wait until the child ends, or kill it at its event or after its time. Returns whether it was killed."""
    handle = os.pidfd_open(child)
    try:
        limit = TIMEOUT if after is None else after
        readable = select.select([heard, handle], [], [], limit)[0]
        at_its_moment = heard in readable and os.read(heard, 1) == b"!"
        ended = not at_its_moment and bool(readable) and bool(select.select([handle], [], [], TIMEOUT)[0])
        if not ended:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if not (ended or at_its_moment) and after is None:
            raise TimeoutError(f"a training did not end within {TIMEOUT:g} s")
        return not ended
    finally:
        os.close(handle)


def differences(reference: Attempt, attempts: list[Attempt]) -> Iterator[str]:
    """The differences between a run in several attempts and the uninterrupted run."""
    last = attempts[-1]
    if reference.end is None or last.end is None:
        yield f"did not end: {(last if reference.end else reference).output[-2000:]}"
        return
    begun = [(now.start, now.steps) for now in attempts if now.start is not None]
    for start, steps in begun:
        wanted = reference.steps[start : start + len(steps)]
        for step, (ids, others) in enumerate(zip(steps, wanted, strict=False), start=start):
            if ids != others:
                yield f"step {step} trained {ids}, the uninterrupted run trained {others}"
                break
    start, steps = begun[-1]
    if start + len(steps) != len(reference.steps):
        yield f"ended after {start + len(steps)} steps, not {len(reference.steps)}"
    for (before, steps), (start, _) in pairwise(begun):
        reached = before + len(steps)
        if not reached - 2 * faults_train.EVERY <= start <= reached:
            yield f"was killed after step {reached}, but continued from {start}"
    for name, value in reference.end.items():
        if last.end[name] != value:
            yield f"{name} differ at the end"
