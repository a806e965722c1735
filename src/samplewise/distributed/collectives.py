"""Several processes: who am I, and what did the others see. The only file with torch.distributed."""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as c10d
from jaxtyping import Int
from torch import Tensor

__all__ = ["add_up", "everyone", "gather", "largest", "rank", "total", "world"]

T = TypeVar("T")


def world() -> int:
    """How many processes train together; 1 without a process group."""
    return c10d.get_world_size() if c10d.is_available() and c10d.is_initialized() else 1


def rank() -> int:
    """This process's number."""
    return c10d.get_rank() if world() > 1 else 0


def gather(ids: Int[Tensor, " m"], columns: list[Tensor]) -> tuple[Int[Tensor, " k"], list[Tensor]]:
    """Every rank's `(ids, columns)`, ids ascending; of an id that several ranks hold the first rank's counts.

    Columns are (m,) or (m, w) of any type. A rank sends one int64 buffer that holds the bytes of the ids
    and of the columns as they are, so no id is ever a float and every bit arrives. Shorter ranks are
    padded with id -1, since gathering unequal sizes aborts the process.

    Raises:
        RuntimeError: if another process has ended or hangs, or holds columns of other types or widths.
    """
    place, here = _place(ids.device), ids.device
    mine = torch.tensor([len(ids), _layout(columns)], device=place)
    rows, layouts = torch.stack(_all_gather(mine)).T.tolist()
    if len(set(layouts)) > 1:
        raise RuntimeError(
            "the processes hold different columns, so they cannot exchange them: every one must have "
            f"observed samples before. Rows on rank 0, 1, ...: {rows}."
        )
    if not (most := max(rows)):
        return ids, columns
    # Wide types first, so that every column begins at a multiple of its element size.
    order = sorted(range(len(columns)), key=lambda i: -columns[i].element_size())
    fields = [ids, *(columns[i] for i in order)]
    received = torch.stack(_all_gather(_packed(fields, most).to(place))).to(here)
    found, *others = _unpacked(received, fields, most)
    ascending, owner = found.sort(stable=True)
    first = ascending >= 0
    first[1:] &= ascending[1:] != ascending[:-1]
    owner = owner[first]
    chosen = {i: column[owner] for i, column in zip(order, others, strict=True)}
    return ascending[first], [chosen[i] for i in range(len(columns))]


def _layout(columns: list[Tensor]) -> int:
    """A number for the types and widths of columns, the same in every process."""
    return zlib.crc32(repr([(str(column.dtype), list(column.shape[1:])) for column in columns]).encode())


def _sizes(fields: list[Tensor], rows: int) -> list[int]:
    """The bytes that so many rows of each field take."""
    return [rows * field.element_size() * math.prod(field.shape[1:]) for field in fields]


def _packed(fields: list[Tensor], rows: int) -> Int[Tensor, " words"]:
    """The bytes of the fields one after the other, each with room for so many rows."""
    sizes = _sizes(fields, rows)
    buffer = torch.full((-(-sum(sizes) // 8),), -1, dtype=torch.int64, device=fields[0].device)
    raw, start = buffer.view(torch.uint8), 0
    for field, size in zip(fields, sizes, strict=True):
        raw[start : start + field.nbytes] = field.contiguous().flatten().view(torch.uint8)
        start += size
    return buffer


def _unpacked(received: Int[Tensor, "world words"], fields: list[Tensor], rows: int) -> list[Tensor]:
    """Every rank's fields, padding included, one rank's rows after the other's."""
    raw, start, found = received.view(torch.uint8), 0, []
    for field, size in zip(fields, _sizes(fields, rows), strict=True):
        part = raw[:, start : start + size].view(field.dtype)
        found.append(part.reshape(len(received) * rows, *field.shape[1:]))
        start += size
    return found


def largest(number: int) -> int:
    """The largest of every rank's numbers."""
    if world() == 1:
        return number
    found = torch.tensor(number, device=_place(torch.device("cpu")))
    with _together():
        c10d.all_reduce(found, op=c10d.ReduceOp.MAX)
        return int(found)


def total(number: int) -> int:
    """The sum of every rank's numbers."""
    return int(add_up(torch.tensor(number)))


def add_up(counts: Tensor) -> Tensor:
    """The sum of every rank's counts, where they are."""
    if world() == 1:
        return counts
    added = counts.to(_place(counts.device), copy=True)
    with _together():
        c10d.all_reduce(added)
        return added.to(counts.device)


def everyone(thing: T) -> list[T]:
    """Every rank's picklable object, rank 0's first. Slow: for tests and errors, never for a step."""
    if world() == 1:
        return [thing]
    found: list[T | None] = [None] * world()
    with _together():
        c10d.all_gather_object(found, thing)
    return found  # type: ignore[return-value]  # filled by now


def _all_gather(mine: Tensor) -> list[Tensor]:
    """Every rank's tensor of one size."""
    found = [torch.empty_like(mine) for _ in range(world())]
    with _together():
        c10d.all_gather(found, mine)
    return found


def _place(device: torch.device) -> torch.device:
    """Where the process group can exchange what is on `device`: there, or on this process's accelerator."""
    if device.type in c10d.get_backend_config():
        return device
    there = torch.accelerator.current_accelerator()
    return device if there is None else torch.device(there.type, torch.accelerator.current_device_index())


@contextmanager
def _together() -> Iterator[None]:
    """Say in plain words what it means when a collective fails."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise RuntimeError(
            f"rank {rank()} could not exchange with the {world() - 1} other processes: one of them has ended "
            f"or hangs. Its own error, if it left one, is the cause: look there first. Seen here: {reason}"
        ) from error
