"""What is refused before training begins: settings under which a selection would not be the method's."""

from typing import Any

from samplewise.integrations.lightning.hooks import HOOKS, overrides
from samplewise.loop.loader import Loader, PlanSampler
from samplewise.loop.requirements import refuse_assembled, refuse_proxy
from samplewise.selector import Selector

__all__ = ["refuse_other_loader", "refuse_passes_without_hooks", "refuse_settings"]


def refuse_settings(trainer: Any, selector: Selector) -> None:
    """Refuse a Trainer that would replace the sampler, or end an epoch or the training early.

    Raises:
        ValueError: naming the argument of the Trainer, what it is and what it must be.
    """
    refuse_assembled(selector.policy, "Lightning")
    refuse_proxy(selector.policy, "Lightning")
    if sum(name == "SelectionCallback" for name in map(_name, trainer.callbacks)) > 1:
        raise ValueError("Trainer(callbacks=...) has several SelectionCallbacks: one selects for a training.")
    if selector.epoch == selector.epochs and trainer.ckpt_path is None:
        raise ValueError(
            f"the Selector has trained all its {selector.epochs} epochs: build a new one to train again, "
            "or one of more epochs and give ckpt_path to go on."
        )
    if trainer.fast_dev_run:
        raise ValueError(
            f"Trainer(fast_dev_run={trainer.fast_dev_run}) cuts the training, and selection needs all of it. "
            "For a quick run give the Selector a small torch.utils.data.Subset and epochs=1."
        )
    if trainer.max_steps != -1:
        raise ValueError(
            f"Trainer(max_steps={trainer.max_steps}) would cut an epoch: leave it out and give "
            f"max_epochs={selector.epochs}. How many steps an epoch has is the method's to say."
        )
    if trainer.max_epochs != selector.epochs:
        raise ValueError(
            f"Trainer(max_epochs=...) must be the Selector's epochs={selector.epochs}, got "
            f"{trainer.max_epochs}: schedules and annealing refer to it."
        )
    limit = trainer.limit_train_batches
    less = isinstance(limit, int) or limit != 1  # 1 is one batch, 1.0 all of them
    for name, cuts in (("overfit_batches", bool(trainer.overfit_batches)), ("limit_train_batches", less)):
        if cuts:
            raise ValueError(
                f"Trainer({name}={getattr(trainer, name)}) would cut epochs behind the Selector's "
                "back: leave it out. To train on fewer samples, give the Selector a "
                "torch.utils.data.Subset of them."
            )
    # Lightning keeps this setting to itself; where it is not found, `refuse_other_loader` still stands.
    connector = getattr(trainer, "_accelerator_connector", None)
    if trainer.world_size > 1 and getattr(connector, "use_distributed_sampler", False):
        raise ValueError(
            "Trainer(use_distributed_sampler=True), its default, would replace the Selector's sampler, which "
            "deals the plan to the processes itself: give Trainer(use_distributed_sampler=False)."
        )


def _name(callback: Any) -> str:
    return type(callback).__name__


def refuse_passes_without_hooks(selector: Selector, owners: list[Any]) -> None:
    """Refuse hooks that change the data where a method makes passes, which do not go through them.

    Args:
        selector: the callback's.
        owners: the LightningModule, and the LightningDataModule if there is one.
    """
    if "pass" not in selector.policy.source:
        return
    for owner in owners:
        for name in (HOOKS[0], HOOKS[-1]):
            if overrides(owner, name):
                raise ValueError(
                    f"{selector.policy.name} makes passes, in which the Selector's forward gets the data as "
                    f"the loader collates them; {type(owner).__name__}.{name} is not called there. Move "
                    "what it does into the data set, the collate_fn or the model's forward."
                )


def refuse_other_loader(trainer: Any, selector: Selector) -> None:
    """Refuse to train on batches that carry no ids.

    Raises:
        ValueError: if the Trainer's only train loader is not this selector's.
    """
    loader = trainer.train_dataloader
    sampler = loader.sampler if isinstance(loader, Loader) else None
    if not (isinstance(sampler, PlanSampler) and sampler.epochs is selector.timeline):
        raise ValueError(
            "the train loader must be selector.loader(...) of the SelectionCallback's Selector, whose "
            f"batches carry ids, got {type(loader).__name__}: trainer.fit(module, selector.loader(...)), or "
            "return it from train_dataloader()."
        )
