"""Samples and batches with their ids: what a DataLoader is built from."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from samplewise.data.layout import Layout
from samplewise.data.order import Order, Permutation
from samplewise.data.outputs import Batch
from samplewise.distributed.shares import deal, positions
from samplewise.engine.compact import CompactPlan
from samplewise.subset import Subset

__all__ = ["IdCollate", "IdDataset", "Ids", "dealt", "in_order", "shuffled"]

Ids = Int[Tensor, " _"] | Order
"""Ids in some order: as a tensor, or computed a piece at a time."""

_CHUNK = 1 << 14


class IdDataset(Dataset[tuple[int, Any]]):
    """A data set whose samples come as (id, sample). It forwards `__getitems__`, and it can be pickled."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.dataset[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Any]]:
        """A whole batch in one call, by the data set's own `__getitems__` if it has one."""
        fetch = getattr(self.dataset, "__getitems__", None)
        samples = fetch(indices) if callable(fetch) else [self.dataset[index] for index in indices]
        return list(zip(indices, samples, strict=True))


class IdCollate:
    """Collates the samples by the user's function and adds their ids. A layout may learn from the samples."""

    def __init__(self, collate: Callable[[list[Any]], Any] | None, layout: Layout | None = None) -> None:
        self.collate = default_collate if collate is None else collate
        self.layout = layout

    def __call__(self, samples: list[tuple[int, Any]]) -> Batch:
        ids, bare = zip(*samples, strict=True)
        if self.layout is not None:
            self.layout.learn(list(bare), self.collate)
        return Batch(torch.tensor(ids, dtype=torch.int64), self.collate(list(bare)))


def shuffled(plan: Subset, rng: torch.Generator) -> Ids:
    """The samples of a plan in random order. Of a compact plan it is computed from any position on."""
    if isinstance(plan, CompactPlan):
        return Order(plan.marked.rows, Permutation(len(plan), rng))
    return plan.ids[torch.randperm(len(plan), generator=rng)]


def dealt(order: Ids, done: int, rank: int, world: int, covers: bool) -> Ids:
    """The shard of one rank: see `deal`."""
    if isinstance(order, Order):
        return order.over(positions(len(order), done, rank, world, covers))
    return deal(order, done, rank, world, covers)


def in_order(ids: Ids) -> Iterator[int]:
    """The ids as Python ints, converted in chunks: never a list of all of them."""
    for chunk in ids.split(_CHUNK):
        yield from chunk.tolist()
