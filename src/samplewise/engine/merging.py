"""Merging: every process gets the rows of columns that the others observed.

`Memory.merge` decides when, and which rows. `collectives.gather` sends them and orders them by id.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.distributed import collectives

__all__ = ["begin_as_others", "merge_rows"]

_AT_ONCE = 1 << 21
"""Numbers that a process sends at once: 16 MB."""


def begin_as_others(columns: dict[str, Tensor], device: torch.device) -> None:
    """Begin the columns of a process that has observed nothing, as the first process that has.

    It has observed nothing if no batch came to it: there may be fewer batches than processes. Every process
    must call it.

    Args:
        columns: of this process, filled in place if there are none.
        device: of the columns.
    """
    if collectives.total(int(bool(columns))) in (0, collectives.world()):
        return
    first = collectives.everyone(bool(columns)).index(True)
    own = {name: column.cpu() for name, column in columns.items()} if collectives.rank() == first else {}
    given = collectives.everyone(own)[first]
    if not columns:
        columns |= {name: column.to(device) for name, column in given.items()}


def merge_rows(ids: Int[Tensor, " k"], columns: Sequence[Tensor]) -> Iterator[Int[Tensor, " m"]]:
    """Send the rows `ids` of the columns to all processes, and write the rows of the others into them.

    It works in pieces, and gives the ids of each piece that all processes sent. Every process must call it
    and use all of it.

    Args:
        ids: that this process observed since the last merge, each once.
        columns: of n rows each, the same ones in every process.
    """
    width = 1 + sum(math.prod(column.shape[1:]) for column in columns)
    rows = max(1, _AT_ONCE // width)
    for piece in range(collectives.largest(-(-len(ids) // rows))):
        # Two processes may send one id in different pieces. The second time it is the row received before.
        mine = ids[piece * rows : (piece + 1) * rows]
        every, received = collectives.gather(mine, [column[mine] for column in columns])
        for column, values in zip(columns, received, strict=True):
            column.index_copy_(0, every, values)
        yield every
