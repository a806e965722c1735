"""`Calendar`: epochs and optimizer steps of a Trainer with epochs of different length. Learning rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LambdaLR, LRScheduler

if TYPE_CHECKING:
    from samplewise.integrations.transformers.packing import Packing
    from samplewise.selector import Selector

__all__ = ["Calendar", "by_calendar"]


@dataclass(frozen=True)
class Calendar:
    """Converts between samples, optimizer steps and progress, for ordinary and for selective training.

    Args:
        n: the number of samples of the data set.
        rows: the number of samples of a micro-batch, over all processes.
        accumulate: the number of micro-batches per optimizer step.
        drop_last: whether an incomplete micro-batch is left out.
        epochs: the number of ordinary epochs; may be a fraction. Not used with `max_steps`.
        max_steps: the limit that the user set, or None.
        planned_epochs: with `max_steps`, the number of epochs to plan. None means as many as ordinary
            training needs.
        packing: for batches that hold as many samples as fit. Then `rows` is their mean.
        processes: the number of processes. A micro-batch takes one packed batch for each.
    """

    n: int
    rows: int
    accumulate: int
    drop_last: bool
    epochs: float
    max_steps: int | None
    planned_epochs: int | None = None
    packing: Packing | None = None
    processes: int = 1

    def batches(self, samples: int) -> int:
        """The number of micro-batches for this number of samples. With packing, about so many."""
        samples = max(0, samples)
        if self.packing is not None:
            return -(-self.packing.batches(samples) // self.processes)
        return samples // self.rows if self.drop_last else -(-samples // self.rows)

    def updates(self, samples: int) -> int:
        """The number of optimizer steps for this number of samples."""
        return -(-self.batches(samples) // self.accumulate)

    @property
    def whole(self) -> int:
        """Optimizer steps of an epoch over all n samples."""
        return max(1, self.updates(self.n))

    @property
    def most(self) -> tuple[int, int]:
        """Optimizer steps and micro-batches that no epoch exceeds."""
        if self.packing is None:
            return self.whole, max(1, self.batches(self.n))
        steps = -(-self.packing.most // (self.accumulate * self.processes))
        return steps, steps * self.accumulate

    @property
    def total(self) -> int:
        """Optimizer steps of ordinary training. The learning-rate schedule is built for this number."""
        return math.ceil(self.epochs * self.whole) if self.max_steps is None else self.max_steps

    @property
    def selection_epochs(self) -> int:
        """The number of epochs of the selector."""
        if self.max_steps is None:
            return math.ceil(self.epochs)
        return self.planned_epochs or -(-self.max_steps // self.whole)

    def steps_of(self, epoch: int, updates: int) -> int:
        """The optimizer steps made in an epoch: all, or a part of the last one if `epochs` is a fraction."""
        if self.max_steps is not None or epoch < self.selection_epochs - 1:
            return updates
        return min(updates, math.ceil(self.epochs * updates) - epoch * updates)

    def epoch_of(self, selector: Selector) -> tuple[int, int, int]:
        """Return the epoch, the optimizer steps made in it, and all its steps.

        The current step counts as made once its batches are narrowed.
        """
        epoch, done = selector.timeline.where().values()
        position = selector.timeline.position
        if position.engine.opened and (ends := position.ends) is not None:
            batches, of_step = bisect_right(ends, done), self.accumulate * self.processes
            made = -(-batches // of_step)
            return epoch, made, made + -(-(len(ends) - batches) // of_step)
        size = selector.timeline.samples_of(epoch, sharded=False)[0] if epoch < selector.epochs else 0
        made = self.updates(min(done, size))
        return epoch, made, made + self.updates(size - done)

    def ordinary_steps(self, selector: Selector) -> float:
        """The optimizer steps that ordinary training needs for the same progress. An integer for `full`."""
        epoch, made, all_made = self.epoch_of(selector)
        ordinary, steps = self.whole, self.steps_of(epoch, all_made)
        if self.max_steps is None:
            ordinary = min(ordinary, self.total - self.whole * epoch)
        return self.whole * epoch + (ordinary * made / steps if made else 0.0)

    def scheduled_step(self, selector: Selector, step: int) -> float:
        """The position in the schedule after `step` optimizer steps, in [0, total]."""
        far = self.ordinary_steps(selector)
        if self.max_steps is None:
            return far
        # Training ends at the limit or at the end of the planned epochs, whichever comes first.
        return max(step, self.max_steps * far / (self.whole * self.selection_epochs))

    def last_step(self, selector: Selector, step: int) -> int:
        """The number of the last optimizer step, computed after `step` steps.

        It is exact in the last epoch. Before, an upper bound is used for epochs that are not planned yet.
        """
        epoch, made, all_made = self.epoch_of(selector)
        step += self.steps_of(epoch, all_made) - made
        for later in range(epoch + 1, self.selection_epochs):
            step += self.steps_of(later, self.updates(selector.timeline.samples_of(later, sharded=False)[0]))
        return step if self.max_steps is None else min(step, self.max_steps)


def by_calendar(scheduler: LRScheduler, step_of: Callable[[int], float], factor: Callable[[], float]) -> bool:
    """Make a learning-rate schedule follow the progress of training instead of the number of steps.

    Args:
        scheduler: changed in place if it is a `LambdaLR`. Other schedulers still count optimizer steps.
        step_of: maps the number of scheduler steps to the step to evaluate; may return a fraction.
        factor: returns the method's factor of the learning rate.

    Returns:
        Whether the scheduler was changed.
    """
    if not isinstance(scheduler, LambdaLR):
        return False

    def follow(rate: Callable[[Any], float]) -> Callable[[int], float]:
        # This must be a plain function: LambdaLR saves the attributes of any other callable.
        def followed(step: int) -> float:
            return rate(step_of(step) if step else 0) * factor()

        return followed

    scheduler.lr_lambdas = [follow(rate) for rate in scheduler.lr_lambdas]
    return True
