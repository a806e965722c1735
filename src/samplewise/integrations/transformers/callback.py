"""Callback between the Trainer's steps: correct epochs and step counts, the ledger, checkpoints."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from samplewise.integrations.transformers.checkpoints import write

if TYPE_CHECKING:
    from samplewise.integrations.transformers.selection import Selection

__all__ = ["SelectionCallback"]


class SelectionCallback(TrainerCallback):
    """Corrects the Trainer's state and saves the selector in each checkpoint. Added by the mixin."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._counted_in = -1
        self._begun = self._aside = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the number of epochs. After a resume, the Trainer counts only those that are left."""
        state.num_train_epochs = self.selection.selector.epochs
        self._counted_in = -1

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Once per epoch, when its length is known, set the number of the last step."""
        selection = self.selection
        selector, calendar = selection.selector, selection.calendar
        if self._counted_in != selector.epoch:
            self._counted_in = selector.epoch
            state.max_steps = calendar.last_step(selector, state.global_step)
            limit = calendar.max_steps
            if limit is not None and selector.epoch == selector.epochs - 1 and state.max_steps < limit:
                warnings.warn(
                    f"the {selector.epochs} planned epochs end after {state.max_steps} steps, before "
                    f"max_steps={limit}, because {selector.policy.name} shortens epochs. For more steps, "
                    "plan more epochs: make_selective(epochs=...) or SelectiveTrainer(selection_epochs=...).",
                    stacklevel=2,
                )
            self._rescale(kwargs["optimizer"])
        self._begun, self._aside = time.perf_counter(), selection.seconds_aside()

    def _rescale(self, optimizer: Any) -> None:
        """Apply the epoch's factor to the learning rate. The schedule ran before the factor was known."""
        selection = self.selection
        factor = selection.selector.lr_factor(selection.selector.epoch)
        if factor != selection.factor and selection.follows:
            for group in optimizer.param_groups:
                group["lr"] *= factor / selection.factor
            selection.factor = factor

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the finished share of the epoch, and add the time of the step to the ledger."""
        selection = self.selection
        epoch, made, planned = selection.calendar.epoch_of(selection.selector)
        state.epoch = epoch + made / max(1, planned)
        aside = selection.seconds_aside() - self._aside
        selection.account(time.perf_counter() - self._begun - aside)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the last epoch, before the Trainer loads the best weights."""
        self.selection.held.refuse()
        selector = self.selection.selector
        epoch, made, planned = self.selection.calendar.epoch_of(selector)
        if epoch == selector.epochs - 1 and made == planned:
            selector.set_epoch(selector.epochs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the selector's file after all processes have written theirs."""
        selection = self.selection
        selection.held.refuse()
        selection.selector.sync()
        selection.wait_for_everyone()
        if args.should_save and selection.folder is not None:
            write(selection.folder, selection.selector.state_dict(), state.global_step)
