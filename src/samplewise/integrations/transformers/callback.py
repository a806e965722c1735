"""What is done between the Trainer's steps: true epochs and step counts, the account, the side file."""

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
    """Added by the mixin; keeps the Trainer's state true and saves the selector with each checkpoint."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._counted_in = -1
        self._begun = self._aside = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The Trainer may have counted the epochs from where a run was resumed."""
        state.num_train_epochs = self.selection.selector.epochs
        self._counted_in = -1

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say which step is the last, once an epoch: from here on its length is known."""
        selection = self.selection
        selector, calendar = selection.selector, selection.calendar
        if self._counted_in != selector.epoch:
            self._counted_in = selector.epoch
            state.max_steps = calendar.last_step(selector, state.global_step)
            limit = calendar.max_steps
            if limit is not None and selector.epoch == selector.epochs - 1 and state.max_steps < limit:
                warnings.warn(
                    f"the {selector.epochs} epochs planned for end after {state.max_steps} steps, before "
                    f"max_steps={limit}, because {selector.policy.name} shortens them. For more steps plan "
                    "for more epochs: make_selective(epochs=...), SelectiveTrainer(selection_epochs=...).",
                    stacklevel=2,
                )
            self._rescale(kwargs["optimizer"])
        self._begun, self._aside = time.perf_counter(), selection.seconds_aside()

    def _rescale(self, optimizer: Any) -> None:
        """Bring in the epoch's factor of the learning rate, whose schedule was asked before it was known."""
        selection = self.selection
        factor = selection.selector.lr_factor(selection.selector.epoch)
        if factor != selection.factor and selection.follows:
            for group in optimizer.param_groups:
                group["lr"] *= factor / selection.factor
            selection.factor = factor

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The share of the epoch that is done, and the time the step took."""
        selection = self.selection
        epoch, made, planned = selection.calendar.epoch_of(selection.selector)
        state.epoch = epoch + made / max(1, planned)
        aside = selection.seconds_aside() - self._aside
        selection.account(time.perf_counter() - self._begun - aside)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the last epoch, before the best weights take the place of the last."""
        self.selection.held.refuse()
        selector = self.selection.selector
        epoch, made, planned = self.selection.calendar.epoch_of(selector)
        if epoch == selector.epochs - 1 and made == planned:
            selector.set_epoch(selector.epochs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the selector's file when every process has written its own."""
        selection = self.selection
        selection.held.refuse()
        selection.selector.sync()
        selection.wait_for_everyone()
        if args.should_save and selection.folder is not None:
            write(selection.folder, selection.selector.state_dict(), state.global_step)
