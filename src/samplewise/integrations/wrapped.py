"""`Wrapped`: a loader around a framework's loader. It ends epochs correctly despite prefetching inside."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from samplewise.data.outputs import Batch
from samplewise.selector import Selector

__all__ = ["Wrapped", "bare"]


def bare(selector: Selector, sharded: bool, arguments: dict[str, Any]) -> DataLoader[Any]:
    """Make a plain DataLoader over the plan, for a framework to wrap. Arguments: as `selector.loader`.

    Frameworks prefetch batches. So this loader does not start or end epochs, as the selector's own loader
    does; `Wrapped` does.
    """
    own = selector.loader(**arguments)  # it checks the arguments and has the data set and collate with ids
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
    """Yields `Batch(ids, data)`. Starts and ends epochs as the selector's own loader does.

    Args:
        selector: the Selector whose plan is loaded.
        inner: the framework's loader around a `bare` loader.
        sharded: True if the sampler shards the plan, False if the framework does.
    """

    def __init__(self, selector: Selector, inner: Any, sharded: bool) -> None:
        self._selector, self._inner, self._sharded = selector, inner, sharded

    def __iter__(self) -> Iterator[Batch]:
        selector = self._selector
        self._inner.generator.manual_seed(selector.timeline.start_iteration())
        self._open()
        return selector.timeline.meter(map(_batch, iter(self._inner)), self._sharded)

    def _open(self) -> None:
        """Pass the current epoch to the framework, if it needs it."""

    def __len__(self) -> int:
        return len(self._inner)


def _batch(found: Any) -> Batch:
    """Restore the type of a batch: a framework may return a plain tuple after moving it to a device."""
    return found if type(found) is Batch else Batch(*found)
