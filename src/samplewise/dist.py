"""Several processes: who am I, and what did the others see. The only file with torch.distributed."""

import math

import torch
import torch.distributed as c10d
from jaxtyping import Int
from torch import Tensor

__all__ = ["add_up", "gather", "largest", "rank", "world"]


def world() -> int:
    """How many processes train together; 1 without a process group."""
    return c10d.get_world_size() if c10d.is_available() and c10d.is_initialized() else 1


def rank() -> int:
    """This process's number."""
    return c10d.get_rank() if world() > 1 else 0


def gather(ids: Int[Tensor, " m"], columns: list[Tensor]) -> tuple[Int[Tensor, " k"], list[Tensor]]:
    """Every rank's `(ids, columns)`, rank 0's first; an id that several ranks hold counts once.

    Columns are (m,) or (m, w). One int64 buffer a rank: ids are never floats, values travel as the bits
    of their float32, and shorter ranks are padded with id -1, since gathering unequal sizes aborts the
    process.
    """
    sizes = [torch.zeros(1, dtype=torch.int64, device=ids.device) for _ in range(world())]
    c10d.all_gather(sizes, torch.tensor([len(ids)], device=ids.device))
    most = int(torch.cat(sizes).max())
    widths = [math.prod(column.shape[1:]) for column in columns]
    mine = torch.full((1 + sum(widths), most), -1, dtype=torch.int64, device=ids.device)
    mine[0, : len(ids)] = ids
    row = 1
    for column, width in zip(columns, widths, strict=True):
        bits = column.float().view(torch.int32) if column.is_floating_point() else column
        mine[row : row + width, : len(ids)] = bits.reshape(len(ids), width).T
        row += width
    all_ranks = [torch.empty_like(mine) for _ in range(world())]
    c10d.all_gather(all_ranks, mine)
    packed = torch.cat(all_ranks, dim=1)
    packed = packed[:, packed[0] >= 0]
    unique, owner = torch.unique(packed[0], return_inverse=True)
    first = torch.full((len(unique),), packed.shape[1], device=ids.device)
    first.scatter_reduce_(0, owner, torch.arange(packed.shape[1], device=ids.device), "amin")
    values = packed[:, first]
    unpacked, row = [], 1
    for column, width in zip(columns, widths, strict=True):
        found = values[row : row + width].T.reshape(len(unique), *column.shape[1:])
        if column.is_floating_point():
            found = found.to(torch.int32).view(torch.float32)
        unpacked.append(found.to(column.dtype))
        row += width
    return unique, unpacked


def largest(number: int) -> int:
    """The largest of every rank's numbers."""
    if world() == 1:
        return number
    on = torch.device("cuda") if c10d.get_backend() == "nccl" else torch.device("cpu")
    found = torch.tensor(number, device=on)
    c10d.all_reduce(found, op=c10d.ReduceOp.MAX)
    return int(found)


def add_up(counts: Tensor) -> Tensor:
    """The sum of every rank's counts."""
    c10d.all_reduce(counts)
    return counts
