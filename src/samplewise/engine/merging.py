"""Merging: every process gets the rows of columns that the others observed.

`Memory.merge` decides when, and which rows. `collectives.gather` sends them and orders them by id.
"""

import math
from collections.abc import Iterator, Sequence

from jaxtyping import Int
from torch import Tensor

from samplewise.distributed import collectives

__all__ = ["merge_rows"]

_AT_ONCE = 1 << 21
"""Numbers that a process sends at once: 16 MB."""


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
