"""What pickers are made of: exact budgets, the top k with ties by index, weighted draws."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

__all__ = ["as_integers", "budget", "largest_remainder", "race", "times", "top", "uniform"]

_CHUNK = 1 << 22
_FIRST, _LAST = 1e-300, 1e300


def budget(m: int, keep: float, least: int = 0) -> int:
    """How many of `m` samples the share `keep` is: m - floor((1 - keep) m), never below `least` of m.

    >>> budget(10, 0.25), budget(7, 0.25), budget(5, 0.25, least=2), budget(1, 0.25, least=2)
    (3, 2, 2, 1)
    """
    return min(m, max(least, m - math.floor((1 - keep) * m + 1e-9)))


def top(scores: Shaped[Tensor, " m"], k: int, ids: Int[Tensor, " m"] | None = None) -> Int[Tensor, " k"]:
    """Rows of the k highest scores, ascending; never-observed (NaN) first, equal scores by id.

    `ids` order ties; without them the position does. Takes a threshold, not a sort.

    >>> top(torch.tensor([1.0, float("nan"), 3.0, 3.0]), 2)
    tensor([1, 2])
    """
    m = scores.shape[0]
    if k >= m or k <= 0:
        return torch.arange(m if k > 0 else 0, device=scores.device)
    if scores.device.type != "cpu":
        return _top_without_sync(scores, k, ids)
    keys = _comparable(scores)
    threshold = np.partition(keys, m - k)[m - k]
    chosen = keys >= threshold
    rows = np.flatnonzero(chosen)
    if (surplus := len(rows) - k) > 0:
        tied = np.flatnonzero(keys == threshold)
        if ids is not None:
            tied = tied[np.argsort(ids.numpy()[tied], kind="stable")]
        chosen[tied[len(tied) - surplus :]] = False
        rows = np.flatnonzero(chosen)
    return torch.from_numpy(rows)


def _comparable(scores: Tensor) -> Any:
    """The scores, or if some are NaN: integers in the same order, with NaN above +inf."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    found: Any = scores.numpy()
    if not scores.is_floating_point() or not np.isnan(found.max()):
        return found
    return as_integers(found)


def as_integers(scores: Any) -> Any:
    """Float scores as whole numbers of their size in the same order, with NaN above +inf and -0.0 as 0.0."""
    floats = scores + 0.0  # a copy, in which -0.0 equals 0.0
    kind = np.int32 if floats.dtype == np.float32 else np.int64
    keys: Any = floats.view(kind)
    keys ^= (keys >> (keys.itemsize * 8 - 1)) & np.iinfo(kind).max
    keys[np.isnan(scores)] = np.iinfo(kind).max
    return keys


def _top_without_sync(scores: Tensor, k: int, ids: Tensor | None) -> Tensor:
    """`top` for an accelerator, where reading a threshold back would stall the step."""
    order = torch.arange(len(scores), device=scores.device) if ids is None else ids.argsort(stable=True)
    ranked = scores.double()[order]
    best = ranked.sort(descending=True, stable=True).indices  # torch sorts NaN above +inf
    return order[best[:k]].sort().values


def uniform(m: int, k: int, rng: torch.Generator) -> Int[Tensor, " k"]:
    """K of m rows, each set equally likely, ascending."""
    if k >= m:
        return torch.arange(m)
    chosen = np.zeros(m, dtype=bool)
    # Marking the smaller side costs less and gives the same distribution.
    small = min(k, m - k)
    chosen[torch.randperm(m, generator=rng)[:small].numpy()] = True
    return torch.from_numpy(np.flatnonzero(chosen if small == k else ~chosen))


def race(weights: Float[Tensor, " m"], k: int, rng: torch.Generator) -> Int[Tensor, " k"]:
    """K rows drawn one after the other without replacement, P ~ weight among those left; ascending.

    Every row draws an exponential time of rate `weight`, and the k shortest times are chosen. The
    distribution is exact for any number of rows (`torch.multinomial` allows 2**24). Rows of weight 0 come
    after all positive ones, uniformly. NaN (never observed) and infinite weights come first.
    """
    m = weights.shape[0]
    if k >= m or k <= 0:
        return torch.arange(m if k > 0 else 0, device=weights.device)
    drawn = torch.empty(m, dtype=torch.float64)
    for part in (drawn,) if m <= _CHUNK else torch.split(drawn, _CHUNK):
        _exponentials(part, rng)
    if weights.device.type != "cpu":
        there = drawn.to(weights.device, non_blocking=True)
        speed = weights.double()
        special = (speed == 0) | ~torch.isfinite(speed)
        last = torch.where(speed == 0, there * _LAST, there * _FIRST)
        return _top_without_sync(torch.where(special, last, there / speed), k, None)
    early: Any = drawn.numpy()
    _run(early, weights.numpy())
    rows = np.flatnonzero(early >= np.partition(early, m - k)[m - k])
    # Two equal times in float64 are next to impossible; `top` then decides by position.
    return torch.from_numpy(rows) if len(rows) == k else top(drawn, k)


def times(weights: Float[Tensor, " m"], rng: torch.Generator) -> Float[Tensor, " m"]:
    """Minus the times of the rows in `race`, for a part of the rows: the next draws are those of the next."""
    drawn = torch.empty(len(weights), dtype=torch.float64)
    _exponentials(drawn, rng)
    _run(drawn.numpy(), weights.numpy())
    return drawn


def _exponentials(drawn: Float[Tensor, " m"], rng: torch.Generator) -> None:
    """Draw minus exponential times, by the inverse transform: `exponential_` takes four times as long."""
    drawn.uniform_(generator=rng)
    values: Any = drawn.numpy()
    np.log1p(np.negative(values, out=values), out=values)


def _run(early: Any, speeds: Any) -> None:
    """Divide minus the times by the speeds. See `race` for speeds that are 0, infinite or NaN."""
    if np.minimum.reduce(speeds) > 0 and np.maximum.reduce(speeds) < np.inf:  # both False for a NaN
        early /= speeds
    else:
        first, last = ~np.isfinite(speeds), speeds == 0
        early[first] *= _FIRST
        early[last] *= _LAST
        np.divide(early, speeds, out=early, where=~(first | last))


def largest_remainder(total: int, sizes: Int[Tensor, " c"]) -> Int[Tensor, " c"]:
    """Divide `total` in proportion to `sizes`. The largest remainders get the rest, so the sum is exact.

    >>> largest_remainder(5, torch.tensor([3, 3, 4]))
    tensor([2, 1, 2])
    """
    n = int(sizes.sum())
    shares = sizes * total
    quotas = shares // n
    left = total - int(quotas.sum())
    quotas[top(shares % n, left)] += 1
    return quotas
