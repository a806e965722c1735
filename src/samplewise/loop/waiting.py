"""Whole batches of accepted samples: meta-batches are scored as they come, and what is accepted waits.

This is the form of Selective Backprop that its paper has. The loader moves every meta-batch to the model,
scores it and chooses; the ids of the accepted rows wait until there are `batch_size` of them. Their samples
are then loaded a second time, by data set and collate in the main process, since rows of two collated batches
cannot be put together in general (paddings differ); random transforms draw anew. So each trained sample costs
one more load without the workers' help. Who waits at the end of an epoch leads the first batch of the next;
who still waits after the last epoch, fewer than `batch_size` samples, is not trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from samplewise.data.outputs import Batch
from samplewise.distributed import collectives
from samplewise.loop.loader import IdDataset, Loader
from samplewise.loop.scoring import device_of

if TYPE_CHECKING:
    from samplewise.policy import Policy

__all__ = ["AssemblingLoader", "Waiting", "refuse_assembled", "refuse_several"]


class Waiting:
    """The ids of accepted samples, the longest waiting first, until they were trained on."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.carried: list[int] = []
        """Those that waited when the epoch began."""
        self.handed = 0
        """How many of them, from the front, are in the batch that was handed out."""

    def open(self) -> None:
        """An epoch begins."""
        self.carried = list(self.ids)

    def restart(self) -> None:
        """The epoch begins again."""
        self.ids, self.handed = list(self.carried), 0

    def trained(self, ids: list[int]) -> None:
        """Strike out the batch that was handed out.

        Raises:
            ValueError: for another batch.
        """
        if not self.handed or ids != self.ids[: self.handed]:
            raise ValueError(
                "with assemble=True every batch of selector.loader() is trained on once, before the next is "
                f"asked for: got ids {ids[:5]}, but {self.ids[: self.handed][:5]} are due."
            )
        self.strike()

    def strike(self) -> None:
        """Forget the batch that was handed out, trained on or not."""
        self.ids, self.handed = self.ids[self.handed :], 0

    def state_dict(self) -> dict[str, Any]:
        """Who waits; the batch that was handed out waits until it is trained on."""
        return {"ids": list(self.ids), "carried": list(self.carried)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.ids, self.carried, self.handed = list(state["ids"]), list(state["carried"]), 0


class AssemblingLoader(Loader):
    """In epochs that select: yields full batches of accepted samples; in others the plan's batches."""

    def fill(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Score meta-batches, and hand out what was accepted of them."""
        selector = self._selector
        waiting = selector.waiting
        if waiting is None or not selector.assembles(selector.epoch):
            yield from batches
            return
        device = device_of(selector.model)
        yield from self._full(waiting)
        for batch in batches:
            waiting.ids += selector.accept(batch.to(device)).tolist()
            yield from self._full(waiting)

    def _full(self, waiting: Waiting) -> Iterator[Batch]:
        """The full batches that wait."""
        size = self._selector.batch_size or 1
        while len(waiting.ids) >= size:
            samples = IdDataset(self._selector.dataset).__getitems__(waiting.ids[:size])
            batch: Batch = self.collate_fn(samples)
            waiting.handed = size
            yield batch
            waiting.strike()  # if the loop passed it over, as any loader would


def refuse_assembled(policy: Policy, what: str) -> None:
    """Raise if the policy fills its batches itself, for what would get in its way."""
    if policy.assemble:
        raise ValueError(
            f"{policy.name}(assemble=True) does not go with {what}: it fills its batches itself, for the "
            "loop `for batch in selector.loader(): loss = selector.loss(batch)` of one process. Leave "
            "assemble out."
        )


def refuse_several(policy: Policy) -> None:
    """Raise where several processes would be handed different numbers of batches."""
    if (world := collectives.world()) > 1:
        refuse_assembled(policy, f"{world} processes, which need equal numbers of batches")
