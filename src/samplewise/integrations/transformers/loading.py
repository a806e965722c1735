"""The Trainer's loader with the selector's order in it, and the ids inside the inputs."""

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
"""The name under which the ids travel; the model never sees it."""

IGNORED_ROWS = "samplewise_ignored"
"""The name under which travels which rows have the label -100, where each has one whole number."""

WITHOUT_IDS = (
    "a batch came without ids, so nothing could be chosen: call get_train_dataloader and get_batch_samples "
    "of SelectiveTrainer where you override them."
)

_KEPT = (
    "num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor",
    "persistent_workers", "in_order",
)  # fmt: skip


class InputsCollate:
    """The Trainer's collate on the bare samples, with the ids among the inputs it makes."""

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
            # Here, where reading a number waits for no accelerator.
            inputs[IGNORED_ROWS] = bytes(labels.eq(IGNORED).flatten().tolist())
        return inputs


class TrainerSampler(Sampler[int]):
    """The open epoch's order, equal on every process: Accelerate deals it out.

    Args:
        selector: whose order it is.
        generator: of the loader; seeded for the workers of each epoch.
        first: the epoch that the Trainer calls 0. After resuming the two may count differently.
        drop_last: of the loader.
    """

    def __init__(
        self, selector: Selector, generator: torch.Generator, first: Callable[[], int], drop_last: bool
    ) -> None:
        self.selector, self.generator, self.first, self.drop_last = selector, generator, first, drop_last

    def set_epoch(self, epoch: int) -> None:
        """Close the epoch before and open this one, as the Trainer numbers them; again changes nothing."""
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
) -> DataLoader[Any]:
    """The Trainer's own loader with another order; it is still to be prepared by Accelerate.

    The loader has its own generator, so that opening it does not move the random state that dropout draws
    from: a resumed run opens it once more than an uninterrupted one.
    """
    generator = torch.Generator()
    return DataLoader(
        IdDataset(selector.dataset),
        batch_size=selector.batch_size,
        sampler=TrainerSampler(selector, generator, first, drop_last),
        collate_fn=InputsCollate(stock.collate_fn, selector.timeline.step.lay_out(stock.collate_fn)),
        drop_last=drop_last,
        generator=generator,
        **{name: getattr(stock, name) for name in _KEPT},
    )


def batches_of(stock: Any) -> tuple[int, bool]:
    """The batch size of one process, and whether the last batch is dropped: kept as the loader has them.

    Raises:
        ValueError: for a loader that is more than a random order cut into batches, which would be lost.
    """
    batches: Any = stock.batch_sampler if isinstance(stock, DataLoader) else None
    while _by_accelerate(batches) and hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler  # the shard of a process
    sampler: Any = getattr(batches, "sampler", None)
    other = None
    if not (type(stock) is DataLoader or _by_accelerate(stock)):
        other = f"a {type(stock).__name__}, whose way to iterate"
    elif type(batches) is not BatchSampler:
        kind = "batch_size=None" if batches is None else f"a {type(batches).__name__}"
        other = f"a loader with {kind}, whose batches"
    elif not (
        type(sampler) is RandomSampler or (_by_accelerate(sampler) and isinstance(sampler, RandomSampler))
    ):
        other = f"a loader with a {type(sampler).__name__}, whose order"
    elif sampler.replacement or sampler.num_samples != length_of(stock.dataset):
        other = f"a RandomSampler of {sampler.num_samples} draws, replacement={sampler.replacement}, which"
    if other is not None:
        raise ValueError(
            f"get_train_dataloader gives {other} selection would replace: let it return a DataLoader with "
            "shuffle=True and a batch_size, or leave the Trainer its own."
        )
    return int(batches.batch_size), bool(batches.drop_last)


def _by_accelerate(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "accelerate"
