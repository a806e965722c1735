"""What a tracker declares of its state: each column, its first value, and how processes join it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Column", "Join"]

Join = Literal["newest", "same", "local"]


@dataclass(frozen=True)
class Column:
    """One entry of a tracker's state: a column of n rows, or one tensor for all samples.

    Args:
        dtype: the type of its numbers. None: float32 for a signal of floats, bool for truth values, int32 for
            whole numbers.
        shape: of one row, `()` for one number a sample. None: that of the signal.
        first: the value before the first observation, or a function of n that gives it. None: NaN for floats,
            -1 for whole numbers, False for truth values.
        join: how several processes join it. `newest`: `observe` writes only rows of its `ids`, and processes
            exchange the rows that they wrote. `same`: every process computes it alike, as `close` does from
            columns that were exchanged, so it is not exchanged. `local`: each process keeps its own.
        of: the signal whose type and shape it takes. None: the only one.
        per_sample: whether it has a row a sample. False: `shape` is the shape of the whole tensor.
        until: when it is dropped. `choice`: after a picker has chosen. `final`: when the score is final.
        since: `final` if it is made only when the score is final, from what `derive` gives.
        columnwise: store the numbers of a column of vectors one column after the other.
    """

    dtype: torch.dtype | None = None
    shape: tuple[int, ...] | None = None
    first: float | Callable[[int], float] | None = None
    join: Join = "newest"
    of: str | None = None
    per_sample: bool = True
    until: Literal["choice", "final"] | None = None
    since: Literal["final"] | None = None
    columnwise: bool = False

    @property
    def read(self) -> bool:
        """Whether `Tracker.read` returns it: it has n rows, and is not used for recording only."""
        return self.per_sample and self.join != "local" and self.until != "final"

    def kind(self, like: Tensor) -> torch.dtype:
        """The type of its numbers for a signal like this one."""
        if self.dtype is not None:
            return self.dtype
        if like.dtype == torch.bool:
            return torch.bool
        return torch.float32 if like.is_floating_point() else torch.int32

    def row(self, like: Tensor) -> tuple[int, ...]:
        """The shape of one row, or of the whole tensor without rows."""
        return tuple(like.shape[1:]) if self.shape is None else self.shape

    def resolved(self, like: Tensor) -> "Column":
        """The same with the type and shape for a signal like this one."""
        return replace(self, dtype=self.kind(like), shape=self.row(like), of=None)

    def bytes_a_sample(self, like: Tensor) -> int:
        """The memory that it takes for each sample."""
        return self.kind(like).itemsize * math.prod(self.row(like)) if self.per_sample else 0

    def empty(self, n: int, like: Tensor) -> Tensor:
        """The column for n samples before the first observation, on the device of the signal."""
        dtype, row = self.kind(like), self.row(like)
        first = self.first(n) if callable(self.first) else self.first
        if first is None:
            first = math.nan if dtype.is_floating_point else 0 if dtype == torch.bool else -1
        if not self.per_sample:
            return torch.full(row, first, dtype=dtype, device=like.device)
        if self.columnwise:
            return torch.full((*row, n), first, dtype=dtype, device=like.device).movedim(-1, 0)
        return torch.full((n, *row), first, dtype=dtype, device=like.device)
