"""Accelerate: a loader whose epochs the selector plans and Accelerate shards, saved with `save_state`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from samplewise.distributed import collectives
from samplewise.files import checkpoints
from samplewise.integrations.wrapped import Wrapped, bare
from samplewise.selector import Selector

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["AcceleratedLoader", "prepare"]

_saved: WeakKeyDictionary[Any, WeakValueDictionary[str, Selector]] = WeakKeyDictionary()
"""What each accelerator saves and restores, by the name of the file; its hooks keep the selectors."""


def prepare(
    selector: Selector, accelerator: Accelerator, *, name: str | None = None, **arguments: Any
) -> AcceleratedLoader:
    """The selector's loader, sharded and placed by Accelerate; `save_state` and `load_state` then cover it.

    Iterate it as any loader: `selector.loss(batch)`, then `accelerator.backward(loss)`. It is prepared
    already and needs no `accelerator.prepare`. After `load_state` its first iteration yields the batches that
    were not trained on yet, so `skip_first_batches` has nothing to do.

    Args:
        selector: built with a data set and the batch size of one process.
        accelerator: its processes deal whole batches in turns; `split_batches` (where there are several
            processes), `dispatch_batches` and `use_stateful_dataloader` are refused.
        name: of the file in the checkpoint, NAME.pt; each selector of an accelerator needs its own. None:
            the one it has already, else `samplewise`.
        arguments: DataLoader's own: `num_workers`, `pin_memory`, `collate_fn`, `drop_last`, ...

    Raises:
        ValueError: for a configuration of the accelerator under which batches would be dealt in another way
            than the selector counts them, or processes would get different numbers of them.
    """
    if not isinstance(selector, Selector):
        raise TypeError(f"prepare's selector must be a sw.Selector, got {type(selector).__name__}.")
    if not hasattr(accelerator, "prepare_data_loader"):
        raise TypeError(
            f"prepare's accelerator must be an accelerate.Accelerator, got {type(accelerator).__name__}."
        )
    _refuse(accelerator, bool(arguments.get("drop_last", False)))
    sharded = accelerator.prepare_data_loader(bare(selector, False, arguments))
    if (world := getattr(sharded.batch_sampler, "num_processes", 1)) != collectives.world():
        raise ValueError(
            f"Accelerate deals batches to {world} of {collectives.world()} processes, as under tensor or "
            "context parallelism. Selection needs data parallelism: other batches on every process."
        )
    _save_with(accelerator, selector, name)
    return AcceleratedLoader(selector, sharded, sharded=False)


class AcceleratedLoader(Wrapped):
    """Yields `Batch(ids, data)` on the accelerator's device; opens and closes epochs as our own loader."""

    def _open(self) -> None:
        selector = self._selector
        # Accelerate hands its own count, which begins with 0, to the sampler as the epoch.
        self._inner.iteration = selector.epoch
        # `gather_for_metrics` cuts the last batch to what remains of this many samples.
        self._inner.dataset.total_dataset_length = selector.timeline.samples_of(
            selector.epoch, sharded=False
        )[0]

    @property
    def dataset(self) -> Any:
        """Not given away: `skip_first_batches` would take it and skip what is skipped already."""
        raise AttributeError(
            "this loader is prepared, and continues where accelerator.load_state left off: it needs neither "
            "accelerator.prepare nor skip_first_batches."
        )


def _refuse(accelerator: Accelerator, drop_last: bool) -> None:
    """Raise for what would deal batches in a way that the selector does not know."""
    several = accelerator.num_processes > 1
    wrong = None
    if accelerator.dispatch_batches:
        wrong = "dispatch_batches=True", "the selector's sampler already gives every process its own batches"
    elif accelerator.use_stateful_dataloader:
        wrong = "use_stateful_dataloader=True", "the selector's state has the position: batches would be lost"
    elif several and accelerator.split_batches:
        wrong = "split_batches=True", "Selector(batch_size=...) is that of one process"
    elif several and not accelerator.even_batches and not drop_last:
        wrong = (
            "even_batches=False",
            "one process would wait for ever for another that has one batch less; or give drop_last=True",
        )
    if wrong:
        raise ValueError(
            f"Accelerator(dataloader_config=DataLoaderConfiguration({wrong[0]})) does not go with selection: "
            f"{wrong[1]}. Leave it at its default."
        )


def _save_with(accelerator: Accelerator, selector: Selector, wanted: str | None) -> None:
    """Write the selector's state into every checkpoint of the accelerator, and read it back.

    Not by `register_for_checkpointing`, whose files Accelerate unpickles whatever they contain.
    """
    registered = _saved.setdefault(accelerator, WeakValueDictionary())
    for before, known in registered.items():
        if known is selector:  # another loader of it, with other workers
            if wanted not in (None, before):
                raise ValueError(
                    f"this selector is saved as {before}.pt already, not as {wanted}.pt: leave name out."
                )
            return
    if (name := wanted or "samplewise") in registered:
        raise ValueError(
            f"this Accelerator saves another selector as {name}.pt: give prepare(..., name=...) its own name."
        )
    registered[name] = selector

    def save(models: list[Any], weights: list[Any], folder: str | Path) -> None:
        selector.sync()
        each_node = accelerator.project_configuration.save_on_each_node
        if accelerator.is_local_main_process if each_node else accelerator.is_main_process:
            checkpoints.save(Path(folder) / f"{name}.pt", selector.state_dict())

    def load(models: list[Any], folder: str | Path) -> None:
        path = Path(folder) / f"{name}.pt"
        if not path.exists():
            raise FileNotFoundError(
                f"{folder} has no {name}.pt: it was saved without prepare(selector, accelerator). If "
                "selection is to start anew on it, call load_state before prepare."
            )
        selector.load_state_dict(checkpoints.load(path))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)
