"""The loader: a torch DataLoader whose batches carry ids, and the one sampler that knows the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from samplewise.checks import nearest
from samplewise.data.layout import Layout
from samplewise.data.outputs import Batch
from samplewise.distributed import collectives

if TYPE_CHECKING:
    from samplewise.selector import Selector

__all__ = ["IdCollate", "IdDataset", "Loader", "PlanSampler", "in_order"]

_CHUNK = 1 << 14
_OWN = {
    "sampler": (
        "the selector's sampler carries the plan. In place of a WeightedRandomSampler give class weights to "
        "the loss (Outputs.normalizer), or sw.recipes.fixed(sw.Subset(ids, weights))"
    ),
    "shuffle": "the selector shuffles by (seed, epoch)",
    "batch_size": "it belongs to Selector(batch_size=...)",
    "batch_sampler": "the selector's sampler carries the plan",
    "generator": "the selector's loader has its own, so that the global one is left as found",
}
_USERS = (
    "num_workers", "collate_fn", "pin_memory", "drop_last", "timeout", "worker_init_fn",
    "multiprocessing_context", "prefetch_factor", "persistent_workers", "pin_memory_device", "in_order",
)  # fmt: skip


class IdDataset(Dataset[tuple[int, Any]]):
    """A data set whose samples come as (id, sample). Forwards `__getitems__`, pickles, no more."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.dataset[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Any]]:
        """A whole batch in one call, by the data set's own `__getitems__` where it has one."""
        fetch = getattr(self.dataset, "__getitems__", None)
        samples = fetch(indices) if callable(fetch) else [self.dataset[index] for index in indices]
        return list(zip(indices, samples, strict=True))


class IdCollate:
    """The user's collate on the bare samples, with the ids beside its result. It shows them to a layout."""

    def __init__(self, collate: Callable[[list[Any]], Any] | None, layout: Layout | None = None) -> None:
        self.collate = default_collate if collate is None else collate
        self.layout = layout

    def __call__(self, samples: list[tuple[int, Any]]) -> Batch:
        ids, bare = zip(*samples, strict=True)
        if self.layout is not None:
            self.layout.learn(list(bare), self.collate)
        return Batch(torch.tensor(ids, dtype=torch.int64), self.collate(list(bare)))


def in_order(ids: Int[Tensor, " k"]) -> Iterator[int]:
    """The ids as Python ints, converted in chunks: never a list of all of them."""
    for chunk in torch.split(ids, _CHUNK):
        yield from chunk.tolist()


class PlanSampler(Sampler[int]):
    """The order of the open epoch. `sharded` gives each rank its own equal share, `global` all of it."""

    def __init__(self, selector: Selector, sharded: bool, resumes: bool = False) -> None:
        self.selector, self.sharded, self.resumes = selector, sharded, resumes
        self.allowed: int | None = None

    def set_epoch(self, epoch: int) -> None:
        """Close the epoch before and open this one; calling it again changes nothing."""
        self.selector.set_epoch(epoch)

    def __len__(self) -> int:
        return self.selector.samples_of(self.selector.open_or_next, self.sharded)[0]

    def __iter__(self) -> Iterator[int]:
        if self.allowed == 0:
            raise RuntimeError(
                "selector.loader() was taken apart: it deals and closes its epochs itself, so nothing may "
                "wrap or shard it. For Accelerate use samplewise.integrations.accelerate.prepare; other "
                "frameworks take selector.sampler(...)."
            )
        if self.allowed is not None:
            self.allowed -= 1
        return in_order(self.selector.draw(self.sharded, self.resumes))


class Loader(DataLoader[Any]):
    """Yields `Batch(ids, data)`; the epoch ends when a batch is asked for after the last."""

    def __init__(self, selector: Selector, dataset: Any, batch_size: int, arguments: dict[str, Any]) -> None:
        self._selector = selector
        given = arguments.pop("collate_fn", None)
        collate = IdCollate(given, selector.lay_out(given))
        self._plan = plan = PlanSampler(selector, sharded=True, resumes=True)
        plan.allowed = 0
        super().__init__(
            IdDataset(dataset),
            batch_size=batch_size,
            sampler=plan,
            collate_fn=collate,
            generator=torch.Generator(),
            **arguments,
        )

    def __iter__(self) -> Any:
        seed = self._selector.start_iteration()
        self._plan.allowed = (self._plan.allowed or 0) + 1
        self.generator.manual_seed(seed)
        return self._selector.meter(self._told(self.fill(super().__iter__())))

    def _told(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._selector.came_from_plan(batch.ids)
            yield batch

    def __getstate__(self) -> dict[str, Any]:
        # Workers that wait for the next epoch stay with the original.
        return {**vars(self), "_iterator": None}

    def fill(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches to train on, made of the plan's."""
        return batches

    def __len__(self) -> int:
        return self._selector.epoch_steps(self._selector.open_or_next)

    def state_dict(self) -> dict[str, int]:
        """The position of what was trained, not fetched; the selector's own state has the rest."""
        return self._selector.position()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Check the position against the selector's, whose state is to be loaded before.

        Raises:
            ValueError: if the selector is at another position.
        """
        if state != (now := self._selector.position()):
            raise ValueError(
                f"the loader's state is of {state}, but its selector is at {now}: load the selector's own "
                "state first, selector.load_state_dict(...)."
            )


def refuse_foreign(arguments: dict[str, Any]) -> None:
    """Refuse the DataLoader arguments that are the selector's, and words DataLoader does not know."""
    for word in arguments:
        if word in _OWN:
            raise ValueError(f"loader({word}=...) is not yours to give: {_OWN[word]}.")
        if word not in _USERS:
            raise ValueError(f"loader has no argument {word!r}.{nearest(word, _USERS)}")


def refuse_no_batch(selector: Selector, epochs: Iterable[int], drop_last: bool) -> None:
    """Refuse epochs of which it is certain that no batch is made of them, whatever the scores will be."""
    for epoch in epochs:
        if selector.epoch_steps(epoch):
            continue
        size, exact = selector.samples_of(epoch)
        raise ValueError(
            f"epoch {epoch} has no batch: {'' if exact else 'at most '}{size} samples{_each()}, batch_size="
            f"{selector.batch_size}, drop_last={drop_last}. Keep more samples, make batches smaller, or "
            "leave drop_last out."
        )


def _each() -> str:
    return f" on each of {world} processes" if (world := collectives.world()) > 1 else ""
