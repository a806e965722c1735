"""Dealing: which part of an epoch's order each process trains on, and which rows of a batch are padding."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["Share", "deal", "rows_of", "share_of"]


def deal(order: Int[Tensor, " k"], done: int, rank: int, world: int, covers: bool) -> Int[Tensor, " m"]:
    """What one process trains on of an epoch's order, of which the first `done` are trained: equal shares.

    The processes take turns, so after s steps of b rows each the first s x b x world of the order are
    done, whatever the number of processes that go on with the rest.

    Args:
        order: the epoch's ids.
        done: how many of them, from the front, no process takes again.
        rank: of this process.
        world: the number of processes.
        covers: pad the shares with ids from the front, so that every id is seen; else the last
            `len(rest) % world` ids are left out.
    """
    rest = order[done:]
    if world == 1:
        return rest
    if covers:
        short = -len(rest) % world
        rest = torch.cat([rest, order.repeat(-(-short // max(1, len(order))))[:short]])
    return rest[: len(rest) // world * world][rank::world]


class Share(NamedTuple):
    """What a process holds of the batch that all processes train on together in one step."""

    mine: int
    """Rows of this process that are no padding; they come first."""
    total: int
    """Rows of all processes that are no padding."""


def share_of(left: int, b: int, rank: int, world: int, sharded: bool) -> Share | None:
    """The share of a process in a step before which `left` ids of the order are still to come.

    None where the step is full. Else the end of this process's batch is padding: our own shards are padded
    while every id must be seen; frameworks that shard a global order deal whole batches in turns and fill
    up the last round with ids from the epoch's start (Accelerate's `even_batches`).

    Args:
        left: ids of the order that no process has trained on.
        b: the batch size of one process.
        rank: of this process.
        world: the number of processes.
        sharded: whether the processes take turns id by id, as `deal` does, or batch by batch.

    >>> [share_of(10, 8, rank, 2, sharded=False) for rank in range(2)]
    [Share(mine=8, total=10), Share(mine=2, total=10)]
    >>> [share_of(5, 3, rank, 2, sharded=True) for rank in range(2)]
    [Share(mine=3, total=5), Share(mine=2, total=5)]
    """
    if left >= world * b:
        return None
    mine = -(-(left - rank) // world) if sharded else left - rank * b
    return Share(min(b, max(0, mine)), max(0, left))


def rows_of(size: int, b: int, rank: int, world: int, sharded: bool, covers: bool, drop_last: bool) -> int:
    """How many samples of an epoch one process trains on, padding left out.

    Args:
        size: samples of the epoch.
        b: the batch size of one process.
        rank: of this process.
        world: the number of processes.
        sharded: whether the processes take turns id by id, as `deal` does, or batch by batch.
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
