"""`SelectionCallback` runs a Selector in a Trainer. `weighted_mean` is for training_step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from samplewise.data.outputs import Batch, Outputs, as_outputs
from samplewise.integrations.lightning.checks import (
    refuse_other_loader,
    refuse_passes_without_hooks,
    refuse_settings,
)
from samplewise.integrations.lightning.hooks import unwrap_batches
from samplewise.integrations.lightning.packages import as_callback
from samplewise.loop.normalizing import normalized
from samplewise.loop.scoring import without_trace
from samplewise.loop.step import weighted_mean as plain_mean
from samplewise.selector import Selector

__all__ = ["SelectionCallback", "weighted_mean"]


class SelectionCallback:
    """Runs a Selector in a Trainer of `lightning` or `pytorch_lightning`.

    It narrows every batch before `training_step`, ends epochs, updates the Trainer's number of batches per
    epoch, and saves the selector in checkpoints. Train on `selector.loader(...)`. If the method needs the
    training losses, or weights them, use `weighted_mean` in `training_step`. Otherwise the first step raises
    an error that says so.

    Args:
        selector: the Selector. Its `epochs` must equal the Trainer's `max_epochs`.
    """

    _declared: ClassVar[type[SelectionCallback]]

    def __new__(cls, *_: Any, **__: Any) -> SelectionCallback:
        """Make an instance that is also a Callback of the imported package (the two have different ones)."""
        declared: Any = cls
        made: SelectionCallback = object.__new__(as_callback(declared))
        return made

    def __init__(self, selector: Any) -> None:
        if not isinstance(selector, Selector):
            raise TypeError(f"SelectionCallback takes a Selector, got {type(selector).__name__}.")
        self.selector: Selector = selector
        self._undo: list[Callable[[], None]] = []
        self._fitting = self._stale = self._arrived = self._helped = False
        self._seen: Outputs | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The real class of the instance is made at run time, so pickle cannot find it by name.
        return _blank, (self._declared,), dict(vars(self))

    def reduce(self, losses: Outputs | Tensor) -> Float[Tensor, ""]:
        """Compute the result of `weighted_mean` during training."""
        self._helped, self._seen = True, None
        return self.selector.reduce(losses)

    # ------------------------------------------------------------------------- begin and end

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Raise for settings that would turn selection off, and replace the batch hooks."""
        self._release()
        self._fitting = stage == "fit"
        if not self._fitting:
            return
        selector = self.selector
        owners = [owner for owner in (pl_module, trainer.datamodule) if owner is not None]
        refuse_settings(trainer, selector)
        if selector.timeline.step.gate is not None:
            selector.timeline.step.gate.accumulates(trainer.accumulate_grad_batches)
        refuse_passes_without_hooks(selector, owners)
        for owner in owners:
            self._undo += unwrap_batches(owner, lambda: bool(trainer.training), self._narrow)
        self._score_in_precision(trainer)
        # This is a share of the batches of the first epoch. Later epochs may have more batches, up to all.
        trainer.limit_train_batches = float(max(1, selector.n or 1))
        self._undo.append(lambda: setattr(trainer, "limit_train_batches", 1.0))

    def _score_in_precision(self, trainer: Any) -> None:
        """Run every scoring forward as the training forward runs."""
        selector, forward = self.selector, self.selector.forward
        if forward is None:
            return
        selector.forward = _in_precision(trainer, forward)
        self._undo.append(lambda: setattr(selector, "forward", forward))

    def _release(self) -> None:
        """Undo all changes to the module and the Trainer."""
        while self._undo:
            self._undo.pop()()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Undo all changes to the module and the Trainer."""
        self._release()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Do what `teardown` does: Lightning does not call it after an error. Keep the error visible."""
        self._release()
        loop = trainer.fit_loop
        loader = getattr(getattr(loop, "_data_fetcher", None), "_combined_loader", None)
        if loader is not None and getattr(loader, "_iterator", loader) is None:
            # `iter` failed. Lightning would then ask this fetcher for its length and show that error instead.
            loop._data_fetcher = None

    # --------------------------------------------------------------------------------- epochs

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Raise for another loader. After a resume, go to the epoch of Lightning."""
        selector, epoch = self.selector, trainer.current_epoch
        refuse_other_loader(trainer, selector)
        # True if the checkpoint was written after the last batch of an epoch, but before the epoch ended.
        behind = selector.epoch == epoch - 1 and self._all_trained()
        if not behind and selector.epoch != epoch:
            raise ValueError(
                f"the Trainer is in epoch {epoch}, but the Selector is in epoch {selector.epoch}. Resume "
                "both from one checkpoint with trainer.fit(..., ckpt_path=...), and build the Selector "
                "with the same arguments."
            )
        if epoch < selector.epochs and (behind or self._stale):
            selector.set_epoch(epoch)
            # Lightning's iterator is of the epoch before, and no public method renews it.
            iter(trainer.fit_loop._data_fetcher)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Set the number of batches of this epoch in the Trainer."""
        self._update_length(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """End the epoch: Lightning does not request a batch after the last one."""
        # The next epoch, with its pass, starts later: training may stop here.
        self.selector.timeline.end_epoch()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the last epoch. Lightning does not, if it resumed after the last batch of that epoch."""
        if self.selector.epoch == self.selector.epochs - 1 and self._all_trained():
            self.selector.set_epoch(self.selector.epochs)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Do what `on_train_end` does: Lightning does not call that if no epoch is left to train."""
        self.on_train_end(trainer, pl_module)

    def _all_trained(self) -> bool:
        """Return whether all batches of the current epoch are trained."""
        selector = self.selector
        return selector.progress >= (selector.epoch + 1) / selector.epochs

    def _update_length(self, trainer: Any) -> None:
        """Update values that the Trainer fixes in its first epoch: epoch length and validation step."""
        steps = self.selector.epoch_steps(self.selector.epoch)
        if trainer.fit_loop.max_batches == steps:
            return
        trainer.fit_loop.max_batches = steps
        if isinstance(trainer.val_check_interval, float) and trainer.val_check_batch is not None:
            trainer.val_check_batch = max(1, int(steps * trainer.val_check_interval))

    # ---------------------------------------------------------------------------------- steps

    def _narrow(self, batch: Batch) -> Any:
        """Return the data of the rows to train."""
        selector = self.selector
        ids, data = selector.narrow(batch)
        if selector.awaits_losses and not self._helped and "batch" in selector.policy.level:
            self._seen = self._training_outputs(data, len(ids))
        self._arrived = True
        return data

    def _training_outputs(self, data: Any, k: int) -> Outputs:
        """Compute the losses of training_step for a batch without scores (as in annealing).

        This is a forward in train mode. The random states are restored, so training_step draws the same
        numbers.
        """
        selector = self.selector
        if selector.model is None or selector.forward is None:
            raise ValueError(
                f"{selector.policy.name} needs a forward and a model to score samples. Set "
                "Selector(forward=..., model=...)."
            )
        begun = time.perf_counter()
        with without_trace(selector.model, replace(selector.scoring, mode="train", dtype=None)):
            outputs = replace(as_outputs(selector.forward(data), k), normalizer=None)  # only observed
        ledger = selector.ledger
        ledger.scoring_forwards += k
        ledger.seconds["scoring"] += time.perf_counter() - begun
        return outputs

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Raise for a batch that was not narrowed."""
        if not self._arrived:
            raise RuntimeError(
                "training_step must get a Batch of selector.loader(...) that Lightning moved to the "
                "device, but it got a batch without ids. Do not use training_step(dataloader_iter)."
            )
        self._arrived = False
        self._update_length(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raise if training_step did not pass on the losses that the method needs."""
        self._observe_pending()
        if self.selector.awaits_losses:
            raise RuntimeError(self._helper_missing())
        # Before validation, and what else follows, can be taken for training.
        self.selector.timeline.end_step()

    def _observe_pending(self) -> None:
        """Observe the losses of `_training_outputs` if training_step did not pass on its own."""
        seen, self._seen = self._seen, None
        if seen is not None and self.selector.awaits_losses:
            factors = self.selector.weigh(seen)
            if bool((factors != 1).any()):
                raise RuntimeError(self._helper_missing())

    def _helper_missing(self) -> str:
        return (
            f"{self.selector.policy.name} needs the per-sample losses of training_step. Import "
            "weighted_mean: from samplewise.integrations.lightning import weighted_mean. In training_step "
            "use "
            'loss = weighted_mean(self, losses) with losses of shape (b,) (reduction="none").'
        )

    # ---------------------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the selector's state: tensors and plain values. Lightning calls this on every process."""
        self._observe_pending()
        self.selector.sync()
        return {"selector": self.selector.state_dict()}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Raise if the checkpoint has no selection state."""
        self._stale = self._fitting and trainer.train_dataloader is not None
        if self._fitting and getattr(self, "state_key") not in checkpoint["callbacks"]:  # noqa: B009 - of the Callback
            raise ValueError(
                "the checkpoint was written without a SelectionCallback, so training with one cannot "
                "continue from it. Load only its weights, and train from the start."
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the selector's state to continue training. In evaluation, do nothing."""
        if self._fitting:
            self.selector.load_state_dict(state_dict["selector"])


def _in_precision(trainer: Any, forward: Any) -> Any:
    """The forward under Lightning's autocast and default dtype, also `forward.of(another model)`."""

    def under_precision(data: Any) -> Any:
        with trainer.precision_plugin.forward_context():
            return forward(data)

    given: Any = under_precision
    if callable(of := getattr(forward, "of", None)):
        given.of = lambda model: _in_precision(trainer, of(model))
    return given


def weighted_mean(module: Any, losses: Outputs | Tensor) -> Float[Tensor, ""]:
    """Return the loss for `training_step`: `(weights * losses).mean()` with the method's weights, in float32.

    The method also observes the losses. Without a SelectionCallback, and in validation and test, the result
    is the plain mean.

    Args:
        module: the LightningModule, `self` in training_step.
        losses: per-sample losses (b,) of the batch that training_step got, or `sw.Outputs`.
    """
    callback = _callback_of(module)
    if callback is not None:
        return callback.reduce(losses)
    tensor = losses.loss if isinstance(losses, Outputs) else losses
    given = as_outputs(losses, len(tensor) if tensor.ndim else 1)
    return plain_mean(
        given.loss, None if given.normalizer is None else normalized(None, given.normalizer, None)
    )


def _callback_of(module: Any) -> SelectionCallback | None:
    """The SelectionCallback of a module that is in training, or None."""
    try:
        trainer = module.trainer
    except RuntimeError:  # not attached to a Trainer
        return None
    if trainer is None or not trainer.training:
        return None
    return next((found for found in trainer.callbacks if isinstance(found, SelectionCallback)), None)


def _blank(cls: type[SelectionCallback]) -> SelectionCallback:
    """Make an empty instance for unpickling."""
    return cls.__new__(cls)
