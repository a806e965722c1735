"""Epochs and optimizer steps of a Trainer whose epochs differ in length, and its learning rate by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LambdaLR, LRScheduler

if TYPE_CHECKING:
    from samplewise.selector import Selector

__all__ = ["Calendar", "by_calendar"]


@dataclass(frozen=True)
class Calendar:
    """How many optimizer steps an ordinary training takes, and how far a selective one is.

    Args:
        n: samples of the data set.
        rows: samples of one micro-batch on all processes together.
        accumulate: micro-batches of one optimizer step.
        drop_last: whether an incomplete micro-batch is left out.
        epochs: ordinary epochs, perhaps a fraction; not used with `max_steps`.
        max_steps: the limit the user gave, or None.
        planned_epochs: with `max_steps`, the epochs to plan for; None: as many as ordinary training needs.
    """

    n: int
    rows: int
    accumulate: int
    drop_last: bool
    epochs: float
    max_steps: int | None
    planned_epochs: int | None = None

    def batches(self, samples: int) -> int:
        """Micro-batches that so many samples make."""
        samples = max(0, samples)
        return samples // self.rows if self.drop_last else -(-samples // self.rows)

    def updates(self, samples: int) -> int:
        """Optimizer steps that so many samples make."""
        return -(-self.batches(samples) // self.accumulate)

    @property
    def whole(self) -> int:
        """Optimizer steps of an epoch over all n samples: no epoch has more."""
        return max(1, self.updates(self.n))

    @property
    def total(self) -> int:
        """Optimizer steps of ordinary training; what the learning rate's schedule is made for."""
        return math.ceil(self.epochs * self.whole) if self.max_steps is None else self.max_steps

    @property
    def selection_epochs(self) -> int:
        """Epochs that the selector is built for."""
        if self.max_steps is None:
            return math.ceil(self.epochs)
        return self.planned_epochs or -(-self.max_steps // self.whole)

    def steps_of(self, epoch: int, updates: int) -> int:
        """How many of an epoch's optimizer steps are made: all, unless a part of the last is asked for."""
        if self.max_steps is not None or epoch < self.selection_epochs - 1:
            return updates
        return min(updates, math.ceil(self.epochs * updates) - epoch * updates)

    def epoch_of(self, selector: Selector) -> tuple[int, int, int]:
        """The epoch, its optimizer steps made (the present one counts once its batches are narrowed), all."""
        epoch, done = selector.timeline.where().values()
        size = selector.timeline.samples_of(epoch, sharded=False)[0] if epoch < selector.epochs else 0
        made = self.updates(min(done, size))
        return epoch, made, made + self.updates(size - done)

    def ordinary_steps(self, selector: Selector) -> float:
        """The optimizer steps after which ordinary training would be as far: a whole number for `full`."""
        epoch, made, all_made = self.epoch_of(selector)
        ordinary, steps = self.whole, self.steps_of(epoch, all_made)
        if self.max_steps is None:
            ordinary = min(ordinary, self.total - self.whole * epoch)
        return self.whole * epoch + (ordinary * made / steps if made else 0.0)

    def scheduled_step(self, selector: Selector, step: int) -> float:
        """Where the schedule is after `step` optimizer steps, in [0, total]."""
        far = self.ordinary_steps(selector)
        if self.max_steps is None:
            return far
        # Whichever ends the training: the limit, or the planned epochs being over before it.
        return max(step, self.max_steps * far / (self.whole * self.selection_epochs))

    def last_step(self, selector: Selector, step: int) -> int:
        """The number of the last optimizer step, asked before the one after `step` is made.

        Exact in the last epoch; before that epochs not yet planned count with their upper bound.
        """
        epoch, made, all_made = self.epoch_of(selector)
        step += self.steps_of(epoch, all_made) - made
        for later in range(epoch + 1, self.selection_epochs):
            step += self.steps_of(later, self.updates(selector.timeline.samples_of(later, sharded=False)[0]))
        return step if self.max_steps is None else min(step, self.max_steps)


def by_calendar(scheduler: LRScheduler, step_of: Callable[[int], float], factor: Callable[[], float]) -> bool:
    """Let a schedule that is a function of the step follow the training's progress instead.

    Args:
        scheduler: changed in place if it is a `LambdaLR`; others keep counting optimizer steps.
        step_of: number of scheduler steps -> the step to evaluate the function at, perhaps a fraction.
        factor: what the method multiplies the learning rate by.

    Returns:
        Whether it follows.
    """
    if not isinstance(scheduler, LambdaLR):
        return False

    def follow(rate: Callable[[Any], float]) -> Callable[[int], float]:
        # A plain function: LambdaLR saves the attributes of any other callable.
        def followed(step: int) -> float:
            return rate(step_of(step) if step else 0) * factor()

        return followed

    scheduler.lr_lambdas = [follow(rate) for rate in scheduler.lr_lambdas]
    return True
