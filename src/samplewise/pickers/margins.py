"""Class-balanced picking of the samples nearest to every class boundary (DynaMS, Algorithm 1)."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import checked
from samplewise.pickers.base import Budgeted, Keep, Pool, Rows

__all__ = ["ClassBalanced", "nearest", "nearest_held", "quotas"]

Chunk = tuple[Int[Tensor, " b"], Float[Tensor, "b c"]]

_SAMPLE = 1 << 14
"""Rows by which a column's threshold is guessed."""


@checked
@dataclass(frozen=True)
class ClassBalanced(Budgeted):
    """Takes, class by class, the samples nearest to the boundary of that class among those not yet taken.

    Reads the column `margins` (m, c). Each boundary gets equally many samples, whatever their labels are.
    """

    keep: Keep

    def take(self, pool: Pool, k: int) -> Rows:
        if not pool.values:
            return torch.arange(k)
        return nearest(pool.values["margins"], k)


def quotas(k: int, classes: int) -> list[int]:
    """How many each class column takes: k / classes rounded down, one more in the first ones.

    >>> quotas(8, 3)
    [3, 3, 2]
    """
    return [k // classes + (c < k % classes) for c in range(classes)]


def nearest(margins: Float[Tensor, "n c"], k: int) -> Rows:
    """Rows of the k samples that Algorithm 1 takes, ascending; equal margins in the order of the samples.

    Column after column the quota's smallest margins among the rows not yet taken; NaN (never observed)
    comes first, +inf last. Fastest for columns that lie together in memory (`margins.T` contiguous):
    then each is read once, and 1 byte a sample is used beside it.

    Args:
        margins: the distance of each sample to each class boundary.
        k: how many, at most n.

    >>> nearest(torch.tensor([[1.0, 9.0], [2.0, 1.0], [3.0, 2.0], [4.0, 8.0]]), 3)
    tensor([0, 1, 2])
    """
    n, classes = margins.shape
    if k >= n:
        return torch.arange(n)
    columns: Any = np.ascontiguousarray(margins.cpu().numpy().T)
    free = np.ones(n, dtype=bool)
    probe = np.random.default_rng(0).choice(n, min(n, _SAMPLE), replace=False)
    for column, quota in zip(columns, quotas(k, classes), strict=True):
        if quota:
            rows = _candidates(column, free, quota, probe)
            free[_smallest(_keys(column[rows]), rows, quota)] = False
    return torch.from_numpy(np.flatnonzero(~free))


def _keys(values: Any) -> Any:
    """Margins with NaN below every number."""
    return np.where(np.isnan(values), -np.inf, values)


def _smallest(keys: Any, rows: Any, quota: int) -> Any:
    """The rows of the smallest keys; equal ones by row. `rows` are ascending."""
    if len(rows) <= quota:
        return rows
    threshold = np.partition(keys, quota - 1)[quota - 1]
    below = rows[keys < threshold]
    return np.concatenate([below, rows[keys == threshold][: quota - len(below)]])


def _candidates(column: Any, free: Any, quota: int, probe: Any) -> Any:
    """Free rows that surely contain the quota's smallest. A sample of keys limits their number."""
    seen = probe[free[probe]]
    share = quota / max(1, int(np.count_nonzero(free)))
    guess = math.ceil(share * len(seen) + 4 * math.sqrt(share * len(seen)) + 4)
    if guess < len(seen):
        threshold = np.partition(_keys(column[seen]), guess)[guess]
        rows = np.flatnonzero(~(column > threshold))  # which NaN is not either
        rows = rows[free[rows]]
        if len(rows) >= quota:
            return rows
    return np.flatnonzero(free)


def nearest_held(
    chunks: Callable[[], Iterable[Chunk]], n: int, classes: int, k: int, held: int
) -> tuple[Rows, int]:
    """The choice of `nearest`, from a stream of margins. It holds only the `held` smallest of each column.

    That is 12 bytes for each number held, in place of 4 n a column. If other columns took the samples of a
    column, so that too few are left in it, the stream is read again and twice as many are held. So the result
    is always that of `nearest` on the whole matrix.

    Args:
        chunks: gives, at each call, all samples once: ids and margins (b, c).
        n: how many samples.
        classes: how many columns.
        k: how many are taken.
        held: how many a column are held at first.

    Returns:
        The rows, ascending, and how many times the stream was read.
    """
    if k >= n:
        return torch.arange(n), 0
    wanted = quotas(k, classes)
    # Column c can lose at most the quotas before it, so it never needs more than these and its own.
    most = np.minimum(np.cumsum(wanted), n)
    for reads in range(1, n.bit_length() + 2):
        columns = _hold(chunks(), classes, np.minimum(most, held))
        if (taken := _take_held(columns, wanted, most, n)) is not None:
            return torch.from_numpy(taken), reads
        held *= 2
    raise AssertionError("each column held enough rows, so the choice cannot fail")


def _hold(chunks: Iterable[Chunk], classes: int, sizes: Any) -> list[tuple[Any, Any]]:
    """The smallest margins of every column and their ids, by margin and then by id."""
    held: list[tuple[Any, Any]] = [(np.empty(0, np.float32), np.empty(0, np.int64))] * classes
    for ids, margins in _gathered(chunks, int(max(sizes))):
        for c, column in enumerate(np.ascontiguousarray(margins.T)):
            keys = np.concatenate([held[c][0], _keys(column)])
            both = np.concatenate([held[c][1], ids])
            if len(keys) > sizes[c]:
                inside = keys <= np.partition(keys, sizes[c] - 1)[sizes[c] - 1]
                keys, both = keys[inside], both[inside]
            order = np.lexsort((both, keys))[: sizes[c]]
            held[c] = keys[order], both[order]
    return held


def _gathered(chunks: Iterable[Chunk], least: int) -> Iterator[tuple[Any, Any]]:
    """Chunks put together until they have as many rows as are held: each merge then halves at most."""
    ids: list[Any] = []
    margins: list[Any] = []
    for some, values in chunks:
        ids.append(some.cpu().numpy())
        margins.append(values.cpu().numpy())
        if sum(map(len, ids)) >= least:
            yield np.concatenate(ids), np.concatenate(margins)
            ids, margins = [], []
    if ids:
        yield np.concatenate(ids), np.concatenate(margins)


def _take_held(columns: list[tuple[Any, Any]], wanted: list[int], most: Any, n: int) -> Any:
    """The ids that are taken. None: a column held too few."""
    free = np.ones(n, dtype=bool)
    for (_, ids), quota, need in zip(columns, wanted, most, strict=True):
        left = ids[free[ids]][:quota]
        if len(left) < quota and len(ids) < need:
            return None
        free[left] = False
    return np.flatnonzero(~free)
