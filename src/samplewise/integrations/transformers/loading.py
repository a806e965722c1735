"""The Trainer's loader with the selector's order, and with the ids in its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler

from samplewise.data.dataset import length_of
from samplewise.data.layout import Layout
from samplewise.distributed import collectives
from samplewise.integrations.transformers.heads import IGNORED
from samplewise.integrations.transformers.packing import PackedBatches, Packing
from samplewise.loop.ids import IdDataset
from samplewise.rng import seed_of

if TYPE_CHECKING:
    from samplewise.selector import Selector

__all__ = [
    "IDS",
    "IGNORED_ROWS",
    "WITHOUT_IDS",
    "InputsCollate",
    "TrainerSampler",
    "batches_of",
    "loader_like",
]

IDS = "samplewise_ids"
"""The key of the ids in the inputs. It is removed before the model runs."""

IGNORED_ROWS = "samplewise_ignored"
"""The key of the flags for rows with label -100, if each row has one integer label."""

WITHOUT_IDS = (
    "a batch must have ids for selection, but has none. If you override get_train_dataloader or "
    "get_batch_samples, call super() in them."
)

_KEPT = (
    "num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor",
    "persistent_workers", "in_order",
)  # fmt: skip


class InputsCollate:
    """Runs the Trainer's collate on the samples without ids, and adds the ids to its result."""

    def __init__(self, collate: Callable[[list[Any]], Any], layout: Layout | None = None) -> None:
        self.collate, self.layout = collate, layout

    def __call__(self, samples: list[tuple[int, Any]]) -> Any:
        ids, bare = zip(*samples, strict=True)
        if self.layout is not None:
            self.layout.learn(list(bare), self.collate)
        inputs = self.collate(list(bare))
        if not isinstance(inputs, MutableMapping):
            raise TypeError(f"data_collator must return a dict of inputs, got {type(inputs).__name__}.")
        inputs[IDS] = torch.tensor(ids, dtype=torch.int64)
        labels = inputs.get("labels")
        if isinstance(labels, Tensor) and labels.numel() == len(ids) and not labels.is_floating_point():
            # Done in the worker: reading values here does not wait for an accelerator.
            inputs[IGNORED_ROWS] = bytes(labels.eq(IGNORED).flatten().tolist())
        return inputs


class TrainerSampler(Sampler[int]):
    """The order of the current epoch. It is the same on every process; Accelerate shards it.

    Args:
        selector: the Selector.
        generator: the generator of the loader. It is seeded for the workers of each epoch.
        first: returns the epoch that the Trainer counts as 0. It may be larger than 0 after a resume.
        drop_last: the setting of the loader.
    """

    def __init__(
        self, selector: Selector, generator: torch.Generator, first: Callable[[], int], drop_last: bool
    ) -> None:
        self.selector, self.generator, self.first, self.drop_last = selector, generator, first, drop_last

    def set_epoch(self, epoch: int) -> None:
        """End the last epoch and start this one (the Trainer's number). Repeated calls do nothing."""
        selector = self.selector
        selector.set_epoch(epoch + self.first())
        self.generator.manual_seed(seed_of(selector.seed, selector.epoch, "workers", collectives.rank()))

    def __len__(self) -> int:
        return self.selector.timeline.samples_of(self.selector.timeline.open_or_next, sharded=False)[0]

    def __iter__(self) -> Iterator[int]:
        self.selector.timeline.start_iteration()
        return iter(self.selector.sampler("global", resumes=True, drop_last=self.drop_last))


def loader_like(
    stock: DataLoader[Any],
    selector: Selector,
    first: Callable[[], int],
    drop_last: bool,
    packing: Packing | None = None,
) -> DataLoader[Any]:
    """Make a loader like the Trainer's, with the selector's order. Accelerate must prepare it afterwards.

    The loader has its own generator, so iterating it does not change the random state of dropout. This
    matters because a resumed run iterates it once more than an uninterrupted run.
    """
    generator = torch.Generator()
    sampler = TrainerSampler(selector, generator, first, drop_last)
    batches: dict[str, Any] = {"batch_size": selector.batch_size, "sampler": sampler, "drop_last": drop_last}
    if packing is not None:
        batches = {"batch_sampler": PackedBatches(packing, sampler)}
    return DataLoader(
        IdDataset(selector.dataset),
        collate_fn=InputsCollate(stock.collate_fn, selector.timeline.step.lay_out(stock.collate_fn)),
        generator=generator,
        **batches,
        **{name: getattr(stock, name) for name in _KEPT},
    )


def batches_of(stock: Any) -> tuple[int, bool]:
    """Return the batch size of one process and `drop_last` of the Trainer's loader.

    Raises:
        ValueError: if the loader does more than cut a random order into batches. Selection would lose that.
    """
    batches: Any = stock.batch_sampler if isinstance(stock, DataLoader) else None
    while _by_accelerate(batches) and hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler  # the shard of a process
    sampler: Any = getattr(batches, "sampler", None)
    other = None
    if not (type(stock) is DataLoader or _by_accelerate(stock)):
        other = f"a {type(stock).__name__}"
    elif type(batches) is not BatchSampler:
        kind = "batch_size=None" if batches is None else f"a {type(batches).__name__}"
        other = f"a loader with {kind}"
    elif not (
        type(sampler) is RandomSampler or (_by_accelerate(sampler) and isinstance(sampler, RandomSampler))
    ):
        other = f"a loader with a {type(sampler).__name__}"
    elif sampler.replacement or sampler.num_samples != length_of(stock.dataset):
        other = f"a RandomSampler of {sampler.num_samples} draws, replacement={sampler.replacement}"
    if other is not None:
        raise ValueError(
            f"get_train_dataloader must return a DataLoader with shuffle=True and a batch_size, got {other}. "
            "Selection would replace it. Use such a DataLoader, or do not override get_train_dataloader."
        )
    return int(batches.batch_size), bool(batches.drop_last)


def _by_accelerate(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "accelerate"
