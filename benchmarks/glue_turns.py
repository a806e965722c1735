"""Trainings side by side: each in a process of its own, one of them running at a time.

The wall clock of a machine that does other work too says little about two trainings made one after
the other. Here every training runs for a slice of an epoch, then hands the turn to the next, so
that all of them meet the same weather. Clocks stand still while another one has the turn.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from transformers import Trainer, TrainerCallback

Row = dict[str, Any]


def side_by_side(work: Callable[[Any, Connection], None], runs: list[Any]) -> Iterator[Row]:
    """Start `work(run, pipe)` for each run, give turns round and round, and yield each one's row.

    A process sends None when it is ready and whenever it hands the turn on, and its row at the end.
    One that dies is left out while the others go on; an error names it after them.
    """
    context = multiprocessing.get_context("spawn")
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
        raise RuntimeError(f"these trainings died, their own message is above: {died}")


class Turns(TrainerCallback):
    """Hands the turn on after each slice of an epoch, and runs the clock only while training.

    Evaluation is made in the own turn, off the clock. `steps` are the (wall, CPU) seconds of each
    step, `curve` what was spent up to the end of each epoch and the metric there.
    """

    def __init__(self, pipe: Connection, trainer: Trainer, slices: int) -> None:
        self.pipe, self.trainer, self.slices = pipe, trainer, slices
        self.wall = self.cpu = 0.0
        self.steps: list[tuple[float, float]] = []
        self.curve: list[Row] = []
        self._handed_on = 0
        self._begun: tuple[float, float] | None = None

    def start(self) -> None:
        """Let the clock run."""
        self._begun = time.perf_counter(), time.process_time()

    def stop(self) -> tuple[float, float]:
        """Halt the clock; wall and CPU seconds since it was started."""
        if self._begun is None:
            return 0.0, 0.0
        wall, cpu = time.perf_counter() - self._begun[0], time.process_time() - self._begun[1]
        self.wall, self.cpu, self._begun = self.wall + wall, self.cpu + cpu, None
        return wall, cpu

    def wait(self) -> None:
        """Hand the turn on and sleep until it comes back."""
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

    def on_epoch_end(self, args: Any, *_: Any, **__: Any) -> None:
        self.stop()
        selector = getattr(self.trainer, "selector", None)
        samples = selector.ledger.samples_backpropagated if selector else None
        self.curve.append({"seconds": self.wall, "cpu_seconds": self.cpu, "samples": samples})
        if args.eval_strategy == "no":
            self.start()

    def on_evaluate(self, *_: Any, metrics: dict[str, float], **__: Any) -> None:
        self.curve[-1] |= {"metric": metrics["eval_metric"], "eval_loss": metrics["eval_loss"]}
        self.start()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.stop()

    def _position(self) -> float:
        """Epochs passed, in parts; a plan that shrinks makes its epoch pass faster."""
        if selector := getattr(self.trainer, "selector", None):
            return float(selector.progress * selector.epochs)
        return float(self.trainer.state.epoch)
