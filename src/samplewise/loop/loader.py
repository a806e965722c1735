"""The loaders: torch DataLoaders whose batches carry ids, and the one sampler that has the plan's order."""

from collections.abc import Iterator
from typing import Any, Generic

import torch
from torch.utils.data import DataLoader, Sampler

from samplewise.checks import epoch_number, nearest
from samplewise.data.outputs import Batch, T
from samplewise.loop.epochs import Timeline
from samplewise.loop.ids import IdCollate, IdDataset, in_order
from samplewise.loop.scoring import device_of
from samplewise.loop.waiting import Waiting

__all__ = ["AssemblingLoader", "Loader", "PlanSampler", "refuse_arguments"]

_SET_BY_SELECTOR = {
    "sampler": (
        "The selector's own sampler gives the plan's order. To weight classes, weight the loss "
        "(Outputs.normalizer), or use sw.recipes.fixed(sw.Subset(ids, weights))"
    ),
    "shuffle": "The selector shuffles by (seed, epoch)",
    "batch_size": "Set it in Selector(batch_size=...)",
    "batch_sampler": "The selector's own sampler gives the plan's order",
    "generator": "The selector's loader has its own generator, so the global one does not change",
}
_ALLOWED = (
    "num_workers", "collate_fn", "pin_memory", "drop_last", "timeout", "worker_init_fn",
    "multiprocessing_context", "prefetch_factor", "persistent_workers", "pin_memory_device", "in_order",
)  # fmt: skip


class PlanSampler(Sampler[int]):
    """The order of the open epoch: each rank's own equal share if `sharded`, else the whole order.

    Args:
        epochs: of the Selector.
        sharded: whether this sampler deals the order to the ranks; if not, a framework does.
        resumes: whether the first iteration after `load_state_dict` gives the remaining ids only.
    """

    def __init__(self, timeline: Timeline, sharded: bool, resumes: bool = False) -> None:
        self.timeline, self.sharded, self.resumes = timeline, sharded, resumes
        self.allowed: int | None = None
        """Iterations that the loader started and this sampler has not yet begun. None: no limit."""

    def set_epoch(self, epoch: int) -> None:
        """Close the epoch before and open this one. A second call changes nothing."""
        self.timeline.set_epoch(epoch_number(epoch))

    def __len__(self) -> int:
        return self.timeline.samples_of(self.timeline.open_or_next, self.sharded)[0]

    def __iter__(self) -> Iterator[int]:
        if self.allowed == 0:
            raise RuntimeError(
                "something wrapped or sharded selector.loader() again. It shards the data and ends epochs "
                "itself, so do not wrap it. For Accelerate use samplewise.integrations.accelerate.prepare. "
                "For other frameworks use selector.sampler(...)."
            )
        if self.allowed is not None:
            self.allowed -= 1
        return in_order(self.timeline.draw(self.sharded, self.resumes))


class Loader(DataLoader[Any], Generic[T]):
    """Yields `Batch(ids, data)`. The epoch ends when the loop asks for a batch after the last one."""

    def __init__(self, timeline: Timeline, arguments: dict[str, Any]) -> None:
        self._timeline = timeline
        given = arguments.pop("collate_fn", None)
        collate = IdCollate(given, timeline.step.lay_out(given))
        self._plan = plan = PlanSampler(timeline, sharded=True, resumes=True)
        plan.allowed = 0
        super().__init__(
            IdDataset(timeline.dataset),
            batch_size=timeline.batch_size,
            sampler=plan,
            collate_fn=collate,
            generator=torch.Generator(),
            **arguments,
        )

    def __iter__(self) -> Iterator[Batch[T]]:  # type: ignore[override]  # torch declares its iterator
        seed = self._timeline.start_iteration()
        self._plan.allowed = (self._plan.allowed or 0) + 1
        self.generator.manual_seed(seed)
        return self._timeline.meter(self._accepted(self.fill(super().__iter__())))

    def _accepted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._timeline.came_from_plan(batch.ids)
            yield batch

    def __getstate__(self) -> dict[str, Any]:
        # The workers that wait for the next epoch stay with the original.
        return {**vars(self), "_iterator": None}

    def fill(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches to train on, from the batches of the plan."""
        return batches

    def __len__(self) -> int:
        return self._timeline.steps_of(self._timeline.open_or_next)

    def state_dict(self) -> dict[str, int]:
        """The position of the last trained batch, not the last fetched one; the selector saves the rest."""
        return self._timeline.where()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Compare the position with the selector's, whose state must be loaded first.

        Raises:
            ValueError: if the selector is at another position.
        """
        if state != (now := self._timeline.where()):
            raise ValueError(
                f"the loader's state is at {state}, but its selector is at {now}. Load the selector's state "
                "first: selector.load_state_dict(...)."
            )


class AssemblingLoader(Loader[T]):
    """In epochs that select: yields full batches of accepted samples. In others: the plan's batches."""

    def fill(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Score meta-batches, and yield full batches of the samples that were accepted."""
        timeline, waiting = self._timeline, self._timeline.waiting
        if waiting is None or not timeline.assembles(timeline.epoch):
            yield from batches
            return
        device = device_of(timeline.step.model)
        yield from self._full(waiting)
        for batch in batches:
            moved = batch.to(device)
            waiting.ids += timeline.step.accept(moved).tolist()
            timeline.step.scoring_forward.came(moved, None, None)
            yield from self._full(waiting)

    def _full(self, waiting: Waiting) -> Iterator[Batch]:
        """The full batches that wait."""
        size = self._timeline.batch_size or 1
        while len(waiting.ids) >= size:
            samples = IdDataset(self._timeline.dataset).__getitems__(waiting.ids[:size])
            batch: Batch = self.collate_fn(samples)
            waiting.handed = size
            yield batch
            waiting.strike()  # if the loop left it out, as it may with any loader


def refuse_arguments(arguments: dict[str, Any]) -> None:
    """Refuse the DataLoader arguments that the selector sets, and names that DataLoader does not have.

    `Selector.loader` calls it first.
    """
    for word in arguments:
        if word in _SET_BY_SELECTOR:
            raise ValueError(f"loader() takes no {word}. {_SET_BY_SELECTOR[word]}.")
        if word not in _ALLOWED:
            raise ValueError(f"loader() has no argument {word!r}.{nearest(word, _ALLOWED)}")
