"""Wrapping the user's transfer hooks: they get data without ids, and then the batch is narrowed."""

import functools
from collections.abc import Callable
from typing import Any

from samplewise.data.outputs import Batch

__all__ = ["HOOKS", "overrides", "unwrap_batches"]

HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""The hooks that Lightning calls to move a batch to the device, in order."""

Undo = Callable[[], None]


def unwrap_batches(owner: Any, training: Callable[[], bool], narrow: Callable[[Batch], Any]) -> list[Undo]:
    """Make the hooks of `owner` accept `Batch(ids, data)` in training, and narrow it after the last hook.

    The hooks are replaced on the instance. Lightning can still find out which of them the user wrote.
    Batches of validation, test and prediction are not changed.

    Args:
        owner: a LightningModule or a LightningDataModule.
        training: returns whether the Trainer is in training now.
        narrow: takes the batch on the device and returns the data for training_step.

    Returns:
        Functions that undo the changes.
    """
    return [_replace(owner, name, training, narrow if name == HOOKS[-1] else _pass) for name in HOOKS]


def overrides(owner: Any, name: str) -> bool:
    """Return whether the user overrides this hook."""
    root = getattr(type(owner), name).__module__.partition(".")[0]
    return root not in ("lightning", "pytorch_lightning")


def _pass(batch: Batch) -> Batch:
    return batch


def _replace(owner: Any, name: str, training: Callable[[], bool], then: Callable[[Batch], Any]) -> Undo:
    hook = getattr(owner, name)

    # Lightning follows `__wrapped__` to find out whether the user wrote a hook.
    @functools.wraps(hook)
    def carry(batch: Any, *rest: Any) -> Any:
        if not (isinstance(batch, Batch) and training()):
            return hook(batch, *rest)
        ids, data = batch
        if name == "transfer_batch_to_device":
            ids = ids.to(rest[0], non_blocking=True)
        return then(Batch(ids, hook(data, *rest)))

    before = vars(owner).get(name)

    def undo() -> None:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    setattr(owner, name, carry)
    return undo
