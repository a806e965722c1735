"""Choices from very many rows, piece by piece: a threshold from histograms, and one bit for each row.

Each function goes over the rows a few times and keeps no number for each of them. Scores are read, and random
numbers drawn, again every time.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from samplewise.data.bits import Bits
from samplewise.pickers import ranking

__all__ = ["Pieces", "independent", "race", "top", "top_drawn", "uniform", "where"]

Pieces = Callable[[], Iterator[Tensor]]
"""Gives the scores of all rows, in order, `bits.PIECE` rows at a time. It is called several times."""

_DIGIT = 16
_FEW = 1 << 20
"""Numbers that are collected and partitioned, in place of another histogram."""


def top(n: int, scores: Pieces, k: int) -> Bits:
    """The k of n rows with the highest scores: those of `ranking.top`, ties included."""

    def keys() -> Iterator[Any]:
        return map(_unsigned, scores())

    return _filled(n, _highest(keys, k))


def top_drawn(n: int, scores: Pieces, k: int, rng: torch.Generator) -> Bits:
    """The k of n rows with the highest scores; of those that are equal to the last of them, random ones."""

    def keys() -> Iterator[Any]:
        return map(_unsigned, scores())

    lowest, ties = _cut(keys, k)
    equal = _filled(n, (part == lowest for part in keys()))
    return _filled(n, (part > lowest for part in keys())) | uniform(equal, ties, rng)


def race(n: int, weights: Pieces, k: int, rng: torch.Generator) -> Bits:
    """K of n rows drawn without replacement, P ~ weight: those of `ranking.race`, from the same draws."""
    begin = rng.get_state()

    def keys() -> Iterator[Any]:
        rng.set_state(begin)
        return (_unsigned(ranking.times(part, rng)) for part in weights())

    return _filled(n, _highest(keys, k))


def uniform(among: Bits, k: int, rng: torch.Generator) -> Bits:
    """K samples of a set, each choice equally likely. The draws are others than those of `ranking.uniform`.

    Every sample of the set draws a number of 63 bits, and the k largest are chosen.
    """
    begin = rng.get_state()

    def keys() -> Iterator[Any]:
        rng.set_state(begin)
        for _, part in among.parts():
            drawn = torch.empty(int(np.count_nonzero(part)), dtype=torch.int64)
            yield drawn.random_(generator=rng).numpy().view(np.uint64)

    return _within(among, _highest(keys, k))


def independent(among: Bits, keep: float, rng: torch.Generator) -> Bits:
    """Each sample of a set with the probability `keep`."""

    def stays() -> Iterator[Any]:
        for _, part in among.parts():
            size = int(np.count_nonzero(part))
            yield torch.rand(size, dtype=torch.float64, generator=rng).numpy() < keep

    return _within(among, stays())


def where(n: int, scores: Pieces, test: Callable[[Any], Bool[np.ndarray, " part"]]) -> Bits:
    """The rows whose scores pass a test."""
    return _filled(n, (test(part.numpy()) for part in scores()))


# --------------------------------------------------------------------------------- into bits


def _filled(n: int, chosen: Iterator[Any]) -> Bits:
    """The bits of all rows, from their truth values piece by piece."""
    made, start = Bits.empty(n), 0
    for part in chosen:
        made.put(start, part)
        start += len(part)
    return made


def _within(among: Bits, chosen: Iterator[Any]) -> Bits:
    """The bits of the samples of a set that are chosen, from a truth value for each sample of the set."""
    made = Bits.empty(among.n)
    for (start, members), part in zip(among.parts(), chosen, strict=True):
        members[members] = part
        made.put(start, members)
    return made


# --------------------------------------------------------------------------------- threshold


def _unsigned(scores: Tensor) -> Any:
    """Scores of any type as unsigned whole numbers in the same order: 32 bits if that is enough, or 64."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    found: Any = scores.numpy()
    found = ranking.as_integers(found) if scores.is_floating_point() else found.astype(np.int64)
    unsigned = np.dtype(f"u{found.itemsize}").type
    return found.view(unsigned) ^ unsigned(1 << found.itemsize * 8 - 1)


def _highest(keys: Callable[[], Iterator[Any]], k: int) -> Iterator[Any]:
    """Whether each row is among the k highest; of equal ones the first. Truth values, piece by piece."""
    if k <= 0:
        yield from (np.zeros(len(part), dtype=bool) for part in keys())
        return
    threshold, ties = _cut(keys, k)
    for part in keys():
        chosen = part >= threshold
        equal = np.flatnonzero(part == threshold)
        if len(equal) > ties:
            chosen[equal[ties:]] = False
        ties -= min(ties, len(equal))
        yield chosen


def _cut(keys: Callable[[], Iterator[Any]], k: int) -> tuple[Any, int]:
    """The k-th highest key, and how many rows that are equal to it are among the k.

    A histogram of the leading 16 bits tells which of them the key has, and so on. If few keys are left, they
    are partitioned.
    """
    left, leading, known = k, 0, 0
    while True:
        counts, kind = np.zeros(1 << _DIGIT, dtype=np.int64), np.uint64
        for part in keys():
            kind, width = part.dtype.type, part.itemsize * 8
            if known:
                part = part[part >> kind(width - known) == leading]
            digits = part >> kind(width - known - _DIGIT) & kind((1 << _DIGIT) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << _DIGIT)
        above = counts[::-1].cumsum()[::-1] - counts
        digit = int(np.argmax(above < left))
        left -= int(above[digit])
        leading, known = leading << _DIGIT | digit, known + _DIGIT
        if known == width:
            return kind(leading), left
        if counts[digit] <= _FEW:
            break
    found = np.concatenate([part[part >> kind(width - known) == leading] for part in keys()])
    key = np.partition(found, len(found) - left)[len(found) - left]
    return key, left - int(np.count_nonzero(found > key))
