"""`advise` for a Trainer: what each method would cost, with its model, data, collate and optimizer."""

from __future__ import annotations

from typing import Any

from samplewise.advice.advising import advise as measure
from samplewise.advice.result import Advice
from samplewise.integrations.transformers.forwards import forward_of
from samplewise.integrations.transformers.heads import PerSampleLoss
from samplewise.integrations.transformers.loading import batches_of
from samplewise.integrations.transformers.mixin import SelectiveTrainer
from samplewise.integrations.transformers.packing import packing_of
from samplewise.integrations.transformers.refusals import head_for
from samplewise.integrations.transformers.selection import Selection, Settings

__all__ = ["advise"]


def advise(trainer: Any, *, per_sample_loss: PerSampleLoss | None = None, **given: Any) -> Advice:
    """Predict the seconds of an epoch for every method, by measuring a Trainer for a minute: see `sw.advise`.

    Call it before `trainer.train()`. The Trainer, its model and its optimizer stay as they are.

    Args:
        trainer: a Trainer, with selection or without.
        per_sample_loss: `f(outputs, inputs)` that returns losses (b,) or `sw.Outputs`, for models whose loss
            is not known.
        given: other arguments of `sw.advise`, such as `methods`, `seconds` or `labels`.

    Raises:
        ValueError: if no per-sample losses are known, or for what `sw.advise` refuses.
    """
    plain: Any = super(SelectiveTrainer, trainer) if isinstance(trainer, SelectiveTrainer) else trainer
    order = type(trainer).__mro__
    owner = next(kind for kind in order if "compute_loss" in vars(kind) and kind is not SelectiveTrainer)
    selection = Selection(Settings("full", per_sample_loss=per_sample_loss))
    selection.head = head_for(trainer, owner, per_sample_loss)
    stock: Any = plain.get_train_dataloader()
    optimizer = trainer.optimizer
    try:
        if optimizer is None:
            trainer.create_optimizer()
        batch_size, dataset = batches_of(stock)[0], stock.dataset
        if (packing := packing_of(trainer.args, dataset, batch_size)) is not None:
            batch_size, dataset = packing.batch_size, packing.dataset
        own = {
            "batch_size": batch_size,
            "epochs": max(1, round(trainer.args.num_train_epochs)),
            "optimizer": trainer.optimizer,
            "collate_fn": stock.collate_fn,
            "num_workers": stock.num_workers,
        }
        return measure(forward_of(selection.head, trainer), trainer.model, dataset, **(own | given))
    finally:
        trainer.optimizer = optimizer
