"""Checks before training: settings of the Trainer that do not work with selection."""

from typing import Any

from samplewise.integrations.lightning.hooks import HOOKS, overrides
from samplewise.loop.loader import Loader, PlanSampler
from samplewise.loop.requirements import refuse_assembled, refuse_proxy
from samplewise.selector import Selector

__all__ = ["refuse_other_loader", "refuse_passes_without_hooks", "refuse_settings"]


def refuse_settings(trainer: Any, selector: Selector) -> None:
    """Raise if the Trainer would replace the sampler, or end an epoch or the training early.

    Raises:
        ValueError: if a setting does not work with selection. The error names the argument of the Trainer.
    """
    refuse_assembled(selector.policy, "Lightning")
    refuse_proxy(selector.policy, "Lightning")
    if sum(name == "SelectionCallback" for name in map(_name, trainer.callbacks)) > 1:
        raise ValueError(
            "Trainer(callbacks=...) must have one SelectionCallback, but has several. Remove the others."
        )
    if selector.epoch == selector.epochs and trainer.ckpt_path is None:
        raise ValueError(
            f"the Selector has already trained all its {selector.epochs} epochs. Build a new one to train "
            "again. To train longer, build one with more epochs and set ckpt_path."
        )
    if trainer.fast_dev_run:
        raise ValueError(
            f"Trainer(fast_dev_run={trainer.fast_dev_run}) ends training early, but selection needs whole "
            "epochs. For a quick run, use a small torch.utils.data.Subset and epochs=1 in the Selector."
        )
    if trainer.max_steps != -1:
        raise ValueError(
            f"Trainer(max_steps={trainer.max_steps}) may end training within an epoch. Leave it out and set "
            f"max_epochs={selector.epochs}. The method decides the number of steps of an epoch."
        )
    if trainer.max_epochs != selector.epochs:
        raise ValueError(
            f"Trainer(max_epochs=...) must equal the Selector's epochs={selector.epochs}, got "
            f"{trainer.max_epochs}. Schedules and annealing depend on it."
        )
    limit = trainer.limit_train_batches
    less = isinstance(limit, int) or limit != 1  # 1 means one batch, 1.0 means all batches
    for name, cuts in (("overfit_batches", bool(trainer.overfit_batches)), ("limit_train_batches", less)):
        if cuts:
            raise ValueError(
                f"Trainer({name}={getattr(trainer, name)}) would drop batches that the Selector planned. "
                "Leave it out. To train on fewer samples, use a torch.utils.data.Subset in the Selector."
            )
    # Lightning has no public access to this setting. If it is not found, `refuse_other_loader` still checks.
    connector = getattr(trainer, "_accelerator_connector", None)
    if trainer.world_size > 1 and getattr(connector, "use_distributed_sampler", False):
        raise ValueError(
            "Trainer(use_distributed_sampler=True), the default, would replace the Selector's sampler, which "
            "already shards the plan. Set Trainer(use_distributed_sampler=False)."
        )


def _name(callback: Any) -> str:
    return type(callback).__name__


def refuse_passes_without_hooks(selector: Selector, owners: list[Any]) -> None:
    """Raise if the user has hooks that change the data and the method makes scoring passes, which skip them.

    Args:
        selector: the Selector of the callback.
        owners: the LightningModule, and the LightningDataModule if there is one.
    """
    if "pass" not in selector.policy.source:
        return
    for owner in owners:
        for name in (HOOKS[0], HOOKS[-1]):
            if overrides(owner, name):
                raise ValueError(
                    f"{selector.policy.name} makes scoring passes over the collated data, and "
                    f"{type(owner).__name__}.{name} is not called there. Move its code into the data set, "
                    "the collate_fn or the model's forward."
                )


def refuse_other_loader(trainer: Any, selector: Selector) -> None:
    """Raise if the train loader is not the selector's, because its batches would have no ids.

    Raises:
        ValueError: if the Trainer's train loader is not `selector.loader(...)` of this selector.
    """
    loader = trainer.train_dataloader
    sampler = loader.sampler if isinstance(loader, Loader) else None
    if not (isinstance(sampler, PlanSampler) and sampler.timeline is selector.timeline):
        raise ValueError(
            "the train loader must be selector.loader(...) of the SelectionCallback's Selector, got "
            f"{type(loader).__name__}. Use trainer.fit(module, selector.loader(...)), or return this "
            "loader from train_dataloader()."
        )
