"""`SelectionCallback`, which runs a Selector inside a Trainer, and `weighted_mean` for training_step."""

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
    """Runs a Selector inside a Trainer, of `lightning` or of `pytorch_lightning`.

    It narrows every batch on its way to `training_step`, closes epochs, keeps the Trainer's idea of their
    lengths right, and puts the selector into checkpoints. Train on `selector.loader(...)`. A method that
    needs the losses of training, or weights them, also needs `weighted_mean` in `training_step`; the
    first step says so.

    Args:
        selector: the Selector, whose `epochs` are the Trainer's `max_epochs`.
    """

    _declared: ClassVar[type[SelectionCallback]]

    def __new__(cls, *_: Any, **__: Any) -> SelectionCallback:
        """An instance that is a Callback of the package in use: the two have different classes."""
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
        # The class that a Trainer sees is made at run time, so it cannot be found by name.
        return _blank, (self._declared,), dict(vars(self))

    def reduce(self, losses: Outputs | Tensor) -> Float[Tensor, ""]:
        """What `weighted_mean` gives while training."""
        self._helped, self._seen = True, None
        return self.selector.reduce(losses)

    # ------------------------------------------------------------------------- begin and end

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse what would turn selection off, and take hold of the batches."""
        self._release()
        self._fitting = stage == "fit"
        if not self._fitting:
            return
        selector = self.selector
        owners = [owner for owner in (pl_module, trainer.datamodule) if owner is not None]
        refuse_settings(trainer, selector)
        refuse_passes_without_hooks(selector, owners)
        for owner in owners:
            self._undo += unwrap_batches(owner, lambda: bool(trainer.training), self._narrow)
        self._lend_precision(trainer)
        # As a share of the first epoch's batches: later epochs may have more, up to all of them.
        trainer.limit_train_batches = float(max(1, selector.n or 1))
        self._undo.append(lambda: setattr(trainer, "limit_train_batches", 1.0))

    def _lend_precision(self, trainer: Any) -> None:
        """Put Lightning's autocast and default dtype around every scoring forward, as around training's."""
        selector, forward = self.selector, self.selector.forward
        if forward is None:
            return

        def under_precision(data: Any) -> Any:
            with trainer.precision_plugin.forward_context():
                return forward(data)

        selector.forward = under_precision
        self._undo.append(lambda: setattr(selector, "forward", forward))

    def _release(self) -> None:
        """Leave module and Trainer as they were found."""
        while self._undo:
            self._undo.pop()()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave module and Trainer as they were found."""
        self._release()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """As `teardown`, which Lightning then does not call; and keep the error in sight."""
        self._release()
        loop = trainer.fit_loop
        loader = getattr(getattr(loop, "_data_fetcher", None), "_combined_loader", None)
        if loader is not None and getattr(loader, "_iterator", loader) is None:
            # `iter` failed. Lightning would ask this fetcher for a length, and show that failure instead.
            loop._data_fetcher = None

    # --------------------------------------------------------------------------------- epochs

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse another loader, and after a resume go where Lightning is."""
        selector, epoch = self.selector, trainer.current_epoch
        refuse_other_loader(trainer, selector)
        # True where the checkpoint was written after the last batch of an epoch but before its end.
        behind = selector.epoch == epoch - 1 and self._all_trained()
        if not behind and selector.epoch != epoch:
            raise ValueError(
                f"the Trainer is in epoch {epoch}, but the Selector in epoch {selector.epoch}: resume both "
                "from one checkpoint, trainer.fit(..., ckpt_path=...), with a Selector built as before."
            )
        if epoch < selector.epochs and (behind or self._stale):
            selector.set_epoch(epoch)
            # Lightning's iterator is of the epoch before, and there is no public way to renew it.
            iter(trainer.fit_loop._data_fetcher)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Tell the Trainer how many batches this epoch has."""
        self._tell_length(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the epoch: Lightning does not ask for a batch after the last one."""
        # The next one is opened, and its pass made, when it begins: training may stop here.
        self.selector.timeline.end_epoch()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the last epoch where Lightning, resumed after its last batch, left out its end."""
        if self.selector.epoch == self.selector.epochs - 1 and self._all_trained():
            self.selector.set_epoch(self.selector.epochs)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """As `on_train_end`, which Lightning leaves out too where no epoch was left to train."""
        self.on_train_end(trainer, pl_module)

    def _all_trained(self) -> bool:
        """Whether every batch of the open epoch was trained on."""
        selector = self.selector
        return selector.progress >= (selector.epoch + 1) / selector.epochs

    def _tell_length(self, trainer: Any) -> None:
        """Correct what the Trainer froze in its first epoch: when epochs end, and when to validate."""
        steps = self.selector.epoch_steps(self.selector.epoch)
        if trainer.fit_loop.max_batches == steps:
            return
        trainer.fit_loop.max_batches = steps
        if isinstance(trainer.val_check_interval, float) and trainer.val_check_batch is not None:
            trainer.val_check_batch = max(1, int(steps * trainer.val_check_interval))

    # ---------------------------------------------------------------------------------- steps

    def _narrow(self, batch: Batch) -> Any:
        """The data of the rows to train on."""
        selector = self.selector
        ids, data = selector.narrow(batch)
        if selector.awaits_losses and not self._helped and "batch" in selector.policy.level:
            self._seen = self._look(data, len(ids))
        self._arrived = True
        return data

    def _look(self, data: Any, k: int) -> Outputs:
        """The losses that training_step will see, for a batch that was not scored (as in annealing).

        A forward in train mode whose random draws are taken back, so that training's are the same.
        """
        selector = self.selector
        if selector.model is None or selector.forward is None:
            raise ValueError(f"{selector.policy.name} scores: give Selector(forward=..., model=...).")
        begun = time.perf_counter()
        with without_trace(selector.model, replace(selector.scoring, mode="train", dtype=None)):
            outputs = replace(as_outputs(selector.forward(data), k), normalizer=None)  # for observing alone
        ledger = selector.ledger
        ledger.scoring_forwards += k
        ledger.seconds["scoring"] += time.perf_counter() - begun
        return outputs

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Refuse a batch that was not narrowed."""
        if not self._arrived:
            raise RuntimeError(
                "a batch reached training_step without its ids: it must be a Batch of selector.loader(...), "
                "sent to the device by Lightning (no training_step(dataloader_iter))."
            )
        self._arrived = False
        self._tell_length(trainer)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refuse a training_step that kept losses to itself which the method needs."""
        self._hear()
        if self.selector.awaits_losses:
            raise RuntimeError(self._helper_missing())
        # Before validation, and what else follows, can be taken for training.
        self.selector.timeline.end_step()

    def _hear(self) -> None:
        """Observe what was looked at, if training_step did not give its losses."""
        seen, self._seen = self._seen, None
        if seen is not None and self.selector.awaits_losses:
            factors = self.selector.weigh(seen)
            if bool((factors != 1).any()):
                raise RuntimeError(self._helper_missing())

    def _helper_missing(self) -> str:
        return (
            f"{self.selector.policy.name} needs the per-sample losses of training_step, to observe or to "
            "weight them: from samplewise.integrations.lightning import weighted_mean, and in training_step "
            'loss = weighted_mean(self, losses) with losses of shape (b,) (reduction="none").'
        )

    # ---------------------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The selector's state: tensors and plain values. Lightning calls it on every process."""
        self._hear()
        self.selector.sync()
        return {"selector": self.selector.state_dict()}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on from a checkpoint without a selection state."""
        self._stale = self._fitting and trainer.train_dataloader is not None
        if self._fitting and getattr(self, "state_key") not in checkpoint["callbacks"]:  # noqa: B009 - of the Callback
            raise ValueError(
                "the checkpoint was written without a SelectionCallback, so it cannot be resumed with one: "
                "load its weights only, and train from the start."
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where the checkpoint was written; evaluations leave the selector as it is."""
        if self._fitting:
            self.selector.load_state_dict(state_dict["selector"])


def weighted_mean(module: Any, losses: Outputs | Tensor) -> Float[Tensor, ""]:
    """The loss to return from `training_step`: `(weights * losses).mean()` as the method says, in float32.

    The method observes the losses in passing. Without a SelectionCallback, and in validation and test,
    it is the plain mean, so the module works everywhere.

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
    """The callback that selects for a module which is being trained."""
    try:
        trainer = module.trainer
    except RuntimeError:  # not attached to a Trainer
        return None
    if trainer is None or not trainer.training:
        return None
    return next((found for found in trainer.callbacks if isinstance(found, SelectionCallback)), None)


def _blank(cls: type[SelectionCallback]) -> SelectionCallback:
    """An instance that a pickle is about to fill."""
    return cls.__new__(cls)
