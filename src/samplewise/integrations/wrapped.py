"""`Wrapped`: the loader around a framework's own, which ends epochs whatever looks ahead inside."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from samplewise.data.outputs import Batch
from samplewise.selector import Selector

__all__ = ["Wrapped", "bare"]


def bare(selector: Selector, sharded: bool, arguments: dict[str, Any]) -> DataLoader[Any]:
    """A plain DataLoader over the plan for a framework to wrap, with the arguments of `selector.loader`.

    Frameworks fetch batches ahead, so unlike the selector's own loader it neither opens nor closes an epoch:
    that is for `Wrapped` to do around it.
    """
    own = selector.loader(**arguments)  # for its checks, and the data set and collate with ids
    rest = {word: value for word, value in arguments.items() if word != "collate_fn"}
    return DataLoader(
        own.dataset,
        batch_size=selector.batch_size,
        sampler=selector.sampler("sharded" if sharded else "global", resumes=True, drop_last=own.drop_last),
        collate_fn=own.collate_fn,
        generator=torch.Generator(),
        **rest,
    )


class Wrapped:
    """Yields `Batch(ids, data)`; opens and closes epochs as the selector's own loader does.

    Args:
        selector: whose plan it loads.
        inner: what the framework made of a `bare` loader.
        sharded: whether the sampler deals the plan among processes, or the framework.
    """

    def __init__(self, selector: Selector, inner: Any, sharded: bool) -> None:
        self._selector, self._inner, self._sharded = selector, inner, sharded

    def __iter__(self) -> Iterator[Batch]:
        selector = self._selector
        self._inner.generator.manual_seed(selector.timeline.start_iteration())
        self._open()
        return selector.timeline.meter(map(_batch, iter(self._inner)), self._sharded)

    def _open(self) -> None:
        """Tell the framework of the epoch that is open, where it wants to know."""

    def __len__(self) -> int:
        return len(self._inner)


def _batch(found: Any) -> Batch:
    """A framework may have moved the pair to a device as a plain tuple."""
    return found if type(found) is Batch else Batch(*found)
