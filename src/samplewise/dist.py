"""Several processes: who am I, and what did the others see. The only file with torch.distributed."""

import torch
import torch.distributed as c10d
from jaxtyping import Int
from torch import Tensor

__all__ = ["add_up", "gather", "rank", "world"]


def world() -> int:
    """How many processes train together; 1 without a process group."""
    return c10d.get_world_size() if c10d.is_available() and c10d.is_initialized() else 1


def rank() -> int:
    """This process's number."""
    return c10d.get_rank() if world() > 1 else 0


def gather(ids: Int[Tensor, " m"], columns: list[Tensor]) -> tuple[Int[Tensor, " k"], list[Tensor]]:
    """Every rank's `(ids, columns)`, rank 0's first; an id that several ranks hold counts once.

    One int64 buffer a rank: ids are never floats, 32-bit values travel as their bits, and shorter
    ranks are padded with id -1, since gathering unequal sizes aborts the process.
    """
    sizes = [torch.zeros(1, dtype=torch.int64, device=ids.device) for _ in range(world())]
    c10d.all_gather(sizes, torch.tensor([len(ids)], device=ids.device))
    most = int(torch.cat(sizes).max())
    mine = torch.full((1 + len(columns), most), -1, dtype=torch.int64, device=ids.device)
    mine[0, : len(ids)] = ids
    for row, column in enumerate(columns, start=1):
        mine[row, : len(ids)] = column.view(torch.int32) if column.is_floating_point() else column
    all_ranks = [torch.empty_like(mine) for _ in range(world())]
    c10d.all_gather(all_ranks, mine)
    packed = torch.cat(all_ranks, dim=1)
    packed = packed[:, packed[0] >= 0]
    unique, owner = torch.unique(packed[0], return_inverse=True)
    first = torch.full((len(unique),), packed.shape[1], device=ids.device)
    first.scatter_reduce_(0, owner, torch.arange(packed.shape[1], device=ids.device), "amin")
    values = packed[:, first]
    unpacked = []
    for row, column in enumerate(columns, start=1):
        if column.is_floating_point():
            unpacked.append(values[row].to(torch.int32).view(torch.float32))
        else:
            unpacked.append(values[row].to(column.dtype))
    return unique, unpacked


def add_up(counts: Tensor) -> Tensor:
    """The sum of every rank's counts."""
    c10d.all_reduce(counts)
    return counts
