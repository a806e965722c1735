"""Shards: which part of an epoch each rank trains on, and which rows of a batch are padding."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["RealRows", "deal", "positions", "real_rows", "rows_of"]


def deal(order: Int[Tensor, " k"], done: int, rank: int, world: int, covers: bool) -> Int[Tensor, " m"]:
    """Return the shard of one rank: every `world`-th id of the order after the first `done`.

    All shards have the same length. After s steps with batches of b rows, exactly the first s * b * world ids
    of the order are trained. So a run can continue with another number of processes.

    Args:
        order: the ids of the epoch, in order.
        done: the number of leading ids that are already trained.
        rank: the rank of this process.
        world: the number of processes.
        covers: pad the shards with ids from the front, so that every id is trained. If False, the last
            `len(rest) % world` ids are left out.
    """
    at = positions(len(order), done, rank, world, covers)
    if at and at[-1] >= len(order):
        return order[torch.arange(at.start, at.stop, at.step) % len(order)]
    return order[at.start : at.stop : at.step]


def positions(k: int, done: int, rank: int, world: int, covers: bool) -> range:
    """The positions in an order of k ids that `deal` gives to a rank. From k on, the order begins again."""
    left = max(0, k - done)
    shared = -(-left // world) * world if covers else left // world * world
    return range(done + rank, done + shared, world)


class RealRows(NamedTuple):
    """The numbers of real rows in one step."""

    mine: int
    """Number of leading rows of this process that are real, not padding."""
    total: int
    """Number of real rows of all processes."""


def real_rows(left: int, b: int, rank: int, world: int, sharded: bool) -> RealRows | None:
    """Return the real rows of a step before which `left` ids are not yet trained. None if all rows are real.

    Otherwise the last rows of the batch are padding. `deal` pads shards if every id must be trained.
    Frameworks that shard by batch fill the last step with ids from the start of the epoch (`even_batches` in
    Accelerate).

    Args:
        left: the number of ids of the order that no process has trained yet.
        b: the batch size of one process.
        rank: the rank of this process.
        world: the number of processes.
        sharded: True if ids go to the ranks in turn, as `deal` does; False if whole batches do.

    >>> [real_rows(10, 8, rank, 2, sharded=False) for rank in range(2)]
    [RealRows(mine=8, total=10), RealRows(mine=2, total=10)]
    >>> [real_rows(5, 3, rank, 2, sharded=True) for rank in range(2)]
    [RealRows(mine=3, total=5), RealRows(mine=2, total=5)]
    """
    if left >= world * b:
        return None
    mine = -(-(left - rank) // world) if sharded else left - rank * b
    return RealRows(min(b, max(0, mine)), max(0, left))


def rows_of(size: int, b: int, rank: int, world: int, sharded: bool, covers: bool, drop_last: bool) -> int:
    """Return the number of samples that one process trains on in an epoch, without padding.

    Args:
        size: the number of samples of the epoch.
        b: the batch size of one process.
        rank: the rank of this process.
        world: the number of processes.
        sharded: True if ids go to the ranks in turn, as `deal` does; False if whole batches do.
        covers: as in `deal`.
        drop_last: whether a batch that is not full is left out.

    >>> [rows_of(10, 4, r, 2, False, False, False) for r in range(2)]
    [6, 4]
    """
    if not sharded:
        full, left = divmod(size, b * world)
        return full * b + (0 if drop_last else min(b, max(0, left - rank * b)))
    share = -(-size // world) if covers else size // world
    if drop_last:
        share -= share % b
    return min(share, -(-(size - rank) // world)) if covers else share
