"""Several ranks as threads of one process, which exchange through memory."""

import copy
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor

from samplewise.distributed import collectives

__all__ = ["on_ranks"]

T = TypeVar("T")

_SECONDS = 60
"""A rank that waits longer for the others is an error."""


class _Group:
    """The exchange between the ranks; stands in for the process group of `collectives`."""

    def __init__(self, world: int) -> None:
        self.size, self.here = world, threading.local()
        self.barrier = threading.Barrier(world, timeout=_SECONDS)
        self.sent: list[Any] = [None] * world

    def world(self) -> int:
        return self.size if hasattr(self.here, "rank") else 1

    def rank(self) -> int:
        return int(getattr(self.here, "rank", 0))

    def everyone(self, thing: Any) -> list[Any]:
        """Copies of what all ranks send, rank 0's first."""
        if self.world() == 1:
            return [thing]
        self.sent[self.rank()] = copy.deepcopy(thing)
        self.barrier.wait()
        found = [copy.deepcopy(sent) for sent in self.sent]
        self.barrier.wait()  # no rank sends again before all have read
        return found

    def largest(self, number: int) -> int:
        return int(max(self.everyone(number)))

    def add_up(self, counts: Tensor) -> Tensor:
        return torch.stack(self.everyone(counts)).sum(0).to(counts.dtype)


def on_ranks(world: int, work: Callable[[], T]) -> list[T]:
    """What `work()` returns on each of several ranks that run at the same time.

    Raises:
        Exception: what the first rank raised that broke; the others are stopped at their next exchange.
    """
    group, found, broken = _Group(world), dict[int, T](), list[BaseException]()

    def run(rank: int) -> None:
        group.here.rank = rank
        try:
            found[rank] = work()
        except threading.BrokenBarrierError as error:
            broken.append(error)  # another rank broke, or this one waited too long
        except BaseException as error:
            broken.insert(0, error)
            group.barrier.abort()

    fakes: dict[str, Any] = {name: getattr(group, name) for name in ("world", "rank", "largest", "add_up")}
    fakes |= {"everyone": group.everyone, "_all_gather": group.everyone, "_place": lambda device: device}
    with ExitStack() as stack:
        for name, fake in fakes.items():
            stack.enter_context(mock.patch.object(collectives, name, fake))
        threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if broken:
        raise broken[0]
    return [found[rank] for rank in range(world)]
