"""Trainings in turns: each has its own process, and one of them runs at a time.

If a machine also does other work, the wall clocks of two trainings made one after the other cannot be
compared. Here every training runs for a part of an epoch and then waits while the next one runs. So
all of them have the same load on the machine. A clock stops while another training runs.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from transformers import Trainer, TrainerCallback

Row = dict[str, Any]


def side_by_side(work: Callable[[Any, Connection], None], runs: list[Any]) -> Iterator[Row]:
    """Start `work(run, pipe)` for each run, give them turns until all have ended, and yield the row of each.

    A process sends None when it is ready and at the end of each turn. At its end it sends its row. If a
    process dies, the others continue, and an error names it at the end.
    """
    context = multiprocessing.get_context("fork")  # imports take longer than a few steps: they are shared
    members = []
    for run in runs:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(run, theirs), daemon=True)
        process.start()
        theirs.close()
        members.append((run, ours, process))
    died = []
    ready = False
    while members:
        for member in list(members):
            run, pipe, process = member
            try:
                if ready:
                    pipe.send(True)
                row = pipe.recv()
            except (EOFError, OSError):
                died.append(run)
                members.remove(member)
                continue
            if row is not None:
                members.remove(member)
                process.join()
                yield row
        ready = True
    if died:
        raise RuntimeError(f"these trainings died: {died}. Their messages are above.")


class Turns(TrainerCallback):
    """Ends the turn after each slice of an epoch. `steps` are the (wall, CPU) seconds of each step."""

    def __init__(self, pipe: Connection, trainer: Trainer, slices: int) -> None:
        self.pipe, self.trainer, self.slices = pipe, trainer, slices
        self.steps: list[tuple[float, float]] = []
        self._handed_on = 0
        self._begun: tuple[float, float] | None = None

    def start(self) -> None:
        """Start the clock."""
        self._begun = time.perf_counter(), time.process_time()

    def stop(self) -> tuple[float, float]:
        """Stop the clock. Returns the wall and CPU seconds since its start."""
        if self._begun is None:
            return 0.0, 0.0
        wall, cpu = time.perf_counter() - self._begun[0], time.process_time() - self._begun[1]
        self._begun = None
        return wall, cpu

    def wait(self) -> None:
        """End this turn and sleep until the next one."""
        self.pipe.send(None)
        self.pipe.recv()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.wait()
        self.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(self.stop())
        slices = int(self._position() * self.slices + 1e-9)
        if slices > self._handed_on:
            self._handed_on = slices
            self.wait()
        self.start()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.stop()

    def _position(self) -> float:
        """The epochs done, with fractions. An epoch with fewer samples takes fewer steps."""
        if selector := getattr(self.trainer, "selector", None):
            return float(selector.progress * selector.epochs)
        return float(self.trainer.state.epoch)
