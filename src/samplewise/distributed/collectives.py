"""Rank, world size and collectives. The only file that uses torch.distributed."""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as c10d
from jaxtyping import Int
from torch import Tensor

__all__ = ["add_up", "everyone", "gather", "largest", "rank", "total", "world"]

T = TypeVar("T")

_DENSE = 8
"""Ids are ordered by marking them in an array if it has at most so many places for each of them."""


def world() -> int:
    """The number of processes that train together: the world size, or 1 without a process group."""
    return c10d.get_world_size() if c10d.is_available() and c10d.is_initialized() else 1


def rank() -> int:
    """The rank of this process, or 0 without a process group."""
    return c10d.get_rank() if world() > 1 else 0


def gather(ids: Int[Tensor, " m"], columns: list[Tensor]) -> tuple[Int[Tensor, " k"], list[Tensor]]:
    """Gather `(ids, columns)` of all ranks, sorted by id. For a shared id, the lowest rank's row is used.

    Columns have shape (m,) or (m, w) and any dtype. Each rank sends one int64 buffer with the raw bytes of
    its ids and columns, so values arrive bit for bit. Ranks with fewer rows are padded with id -1, because
    gathering tensors of unequal size aborts the process.

    Raises:
        RuntimeError: if another process has ended or hangs, or its columns have other dtypes or widths.
    """
    place, here = _place(ids.device), ids.device
    mine = torch.tensor([len(ids), _layout(columns)], device=place)
    rows, layouts = torch.stack(_all_gather(mine)).T.tolist()
    if len(set(layouts)) > 1:
        raise RuntimeError(
            "all processes must hold the same columns to exchange them, but their dtypes or widths differ. "
            f"Rows on rank 0, 1, ...: {rows}. Let every process observe samples before the exchange."
        )
    if not (most := max(rows)):
        return ids, columns
    # Wide dtypes go first, so that every column begins at a multiple of its element size.
    order = sorted(range(len(columns)), key=lambda i: -columns[i].element_size())
    fields = [ids, *(columns[i] for i in order)]
    received = torch.stack(_all_gather(_packed(fields, most).to(place))).to(here)
    found, *others = _unpacked(received, fields, most)
    every, owner = _owners(found)
    chosen = {i: column[owner] for i, column in zip(order, others, strict=True)}
    return every, [chosen[i] for i in range(len(columns))]


def _owners(found: Int[Tensor, " rows"]) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """All ids but -1, ascending, and the first row of each."""
    if found.is_cpu and len(kept := found[found >= 0] if int(found.min()) < 0 else found):
        low, high = (int(bound) for bound in kept.aminmax())
        if high - low < _DENSE * len(kept):
            rows = np.flatnonzero(found.numpy() >= 0) if len(kept) < len(found) else np.arange(len(found))
            owner = np.full(high - low + 1, -1, dtype=np.int64)
            # Of a repeated index numpy keeps the last value: in reverse order that of the first row.
            owner[kept.numpy()[::-1] - low] = rows[::-1]
            present = np.flatnonzero(owner >= 0)
            return torch.from_numpy(present + low), torch.from_numpy(owner[present])
    ascending, owners = found.sort(stable=True)
    first = ascending >= 0
    first[1:] &= ascending[1:] != ascending[:-1]
    return ascending[first], owners[first]


def _layout(columns: list[Tensor]) -> int:
    """A checksum of the dtypes and widths of columns. It does not depend on the process."""
    return zlib.crc32(repr([(str(column.dtype), list(column.shape[1:])) for column in columns]).encode())


def _sizes(fields: list[Tensor], rows: int) -> list[int]:
    """Number of bytes of `rows` rows, for each field."""
    return [rows * field.element_size() * math.prod(field.shape[1:]) for field in fields]


def _packed(fields: list[Tensor], rows: int) -> Int[Tensor, " words"]:
    """Pack the bytes of all fields into one buffer, with space for `rows` rows of each."""
    sizes = _sizes(fields, rows)
    buffer = torch.full((-(-sum(sizes) // 8),), -1, dtype=torch.int64, device=fields[0].device)
    raw, start = buffer.view(torch.uint8), 0
    for field, size in zip(fields, sizes, strict=True):
        raw[start : start + field.nbytes] = field.contiguous().flatten().view(torch.uint8)
        start += size
    return buffer


def _unpacked(received: Int[Tensor, "world words"], fields: list[Tensor], rows: int) -> list[Tensor]:
    """Unpack the fields of all ranks: the rows of rank 0 first, padding included."""
    raw, start, found = received.view(torch.uint8), 0, []
    for field, size in zip(fields, _sizes(fields, rows), strict=True):
        part = raw[:, start : start + size].view(field.dtype)
        found.append(part.reshape(len(received) * rows, *field.shape[1:]))
        start += size
    return found


def largest(number: int) -> int:
    """The maximum of `number` over all ranks."""
    if world() == 1:
        return number
    found = torch.tensor(number, device=_place(torch.device("cpu")))
    with _explaining_errors():
        c10d.all_reduce(found, op=c10d.ReduceOp.MAX)
        return int(found)


def total(number: int) -> int:
    """The sum of `number` over all ranks."""
    return int(add_up(torch.tensor(number)))


def add_up(counts: Tensor) -> Tensor:
    """The sum of `counts` over all ranks, on the device of `counts`."""
    if world() == 1:
        return counts
    added = counts.to(_place(counts.device), copy=True)
    with _explaining_errors():
        c10d.all_reduce(added)
        return added.to(counts.device)


def everyone(thing: T) -> list[T]:
    """Gather a picklable object from every rank, in the order of ranks. Slow: do not use it in a step."""
    if world() == 1:
        return [thing]
    found: list[T | None] = [None] * world()
    with _explaining_errors():
        c10d.all_gather_object(found, thing)
    return found  # type: ignore[return-value]  # no entry is None now


def _all_gather(mine: Tensor) -> list[Tensor]:
    """Gather a tensor, of the same shape on every rank, in the order of ranks."""
    found = [torch.empty_like(mine) for _ in range(world())]
    with _explaining_errors():
        c10d.all_gather(found, mine)
    return found


def _place(device: torch.device) -> torch.device:
    """The device for exchanges: `device` if the backend supports it, else the accelerator of this process."""
    if device.type in c10d.get_backend_config():
        return device
    there = torch.accelerator.current_accelerator()
    return device if there is None else torch.device(there.type, torch.accelerator.current_device_index())


@contextmanager
def _explaining_errors() -> Iterator[None]:
    """Turn the error of a failed collective into one that says what to do."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise RuntimeError(
            f"rank {rank()} could not exchange data with the {world() - 1} other processes: one of them has "
            f"ended or hangs. Look for the error of that process first. The error here: {reason}"
        ) from error
