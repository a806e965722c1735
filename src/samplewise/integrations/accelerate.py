"""Accelerate: a loader over the selector's plan, sharded by Accelerate and saved with `save_state`."""

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
"""The selectors that each accelerator saves, by file name. The hooks of the accelerator keep them alive."""


def prepare(
    selector: Selector, accelerator: Accelerator, *, name: str | None = None, **arguments: Any
) -> AcceleratedLoader:
    """Return the selector's loader, sharded and moved to the device by Accelerate.

    Iterate it as any loader: `selector.loss(batch)`, then `accelerator.backward(loss)`. Do not call
    `accelerator.prepare` on it. `accelerator.save_state` and `load_state` save and load the selector too.
    After `load_state`, the first iteration starts at the first batch that is not trained yet, so do not use
    `skip_first_batches`.

    Args:
        selector: built with a data set and the batch size of one process.
        accelerator: it gives whole batches to the processes in turn. `dispatch_batches` and
            `use_stateful_dataloader` are errors, and with several processes also `split_batches`.
        name: the name of the file in the checkpoint, NAME.pt. Each selector of an accelerator needs its own.
            None means the name it already has, or `samplewise`.
        arguments: arguments of DataLoader: `num_workers`, `pin_memory`, `collate_fn`, `drop_last`, ...

    Raises:
        ValueError: if the accelerator is configured to shard batches in a way that does not match the counts
            of the selector, or to give processes different numbers of batches.
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
            f"Accelerate shards batches over {world} of {collectives.world()} processes, as in tensor or "
            "context parallelism. Selection needs data parallelism, where every process gets its own batches."
        )
    _save_with(accelerator, selector, name)
    if selector.timeline.step.gate is not None:
        selector.timeline.step.gate.accumulates(accelerator.gradient_accumulation_steps)
    return AcceleratedLoader(selector, sharded, sharded=False)


class AcceleratedLoader(Wrapped):
    """Yields `Batch(ids, data)` on the accelerator's device. Ends epochs as `selector.loader()` does."""

    def _open(self) -> None:
        selector = self._selector
        # Accelerate passes its own count of iterations, which starts at 0, to the sampler as the epoch.
        self._inner.iteration = selector.epoch
        # `gather_for_metrics` uses this number of samples to remove the padding of the last batch.
        self._inner.dataset.total_dataset_length = selector.timeline.samples_of(
            selector.epoch, sharded=False
        )[0]

    @property
    def dataset(self) -> Any:
        """Raise: `skip_first_batches` would use it to skip batches a second time."""
        raise AttributeError(
            "this loader is already prepared, and continues where accelerator.load_state stopped. Do not "
            "call accelerator.prepare or skip_first_batches on it."
        )


def _refuse(accelerator: Accelerator, drop_last: bool) -> None:
    """Raise for settings that shard batches in another way than the selector counts them."""
    if accelerator.state.distributed_type == "DEEPSPEED":
        raise ValueError(
            "prepare's accelerator must not use DeepSpeed: it is not tested. Use FSDP2, which also shards "
            "parameters, gradients and the optimizer: Accelerator(fsdp_plugin="
            "FullyShardedDataParallelPlugin(fsdp_version=2))."
        )
    several = accelerator.num_processes > 1
    wrong = None
    if accelerator.dispatch_batches:
        wrong = "dispatch_batches=True", "the selector's sampler already gives every process its own batches"
    elif accelerator.use_stateful_dataloader:
        wrong = "use_stateful_dataloader=True", "the selector saves the position too: batches would be lost"
    elif several and accelerator.split_batches:
        wrong = "split_batches=True", "Selector(batch_size=...) is the batch size of one process"
    elif several and not accelerator.even_batches and not drop_last:
        wrong = (
            "even_batches=False",
            "a process with one batch more would wait for ever for the others. drop_last=True also avoids "
            "this",
        )
    if wrong:
        raise ValueError(
            f"Accelerator(dataloader_config=DataLoaderConfiguration({wrong[0]})) does not work with "
            f"selection: {wrong[1]}. Leave it at its default."
        )


def _save_with(accelerator: Accelerator, selector: Selector, wanted: str | None) -> None:
    """Make the accelerator save the selector's state in every checkpoint, and load it from there.

    `register_for_checkpointing` is not used, because Accelerate unpickles its files without a check.
    """
    registered = _saved.setdefault(accelerator, WeakValueDictionary())
    for before, known in registered.items():
        if known is selector:  # another loader of the same selector
            if wanted not in (None, before):
                raise ValueError(
                    f"this selector is already saved as {before}.pt, so name must not be {wanted!r}. Leave "
                    "name out."
                )
            return
    if (name := wanted or "samplewise") in registered:
        raise ValueError(
            f"this Accelerator already saves another selector as {name}.pt. Set another name in "
            "prepare(..., name=...)."
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
                f"{folder} has no {name}.pt: it was saved without prepare(selector, accelerator). To start "
                "selection from the beginning, call load_state before prepare."
            )
        selector.load_state_dict(checkpoints.load(path))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)
