"""`Bits`: a set of samples with one bit for each of n, and the id of its r-th sample."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

__all__ = ["PIECE", "Bits"]

PIECE = 1 << 18
"""Samples that are looked at together. A multiple of 64."""

_WORD, _STEP = 64, 64
_ONES, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_TWOS, _FOURS, _EIGHTS = (
    np.uint64(0x5555555555555555),
    np.uint64(0x3333333333333333),
    np.uint64(0x0F0F0F0F0F0F0F0F),
)
_BYTE = np.uint64(255)
_U = [np.uint64(number) for number in range(64)]
"""Shifts of words: numpy takes them in the type of the words only."""


def _table() -> Any:
    """For each byte and each r in [0, 8): the position of its r-th bit that is set."""
    found = np.zeros((256, 8), dtype=np.uint8)
    for byte in range(256):
        bits = [bit for bit in range(8) if byte >> bit & 1]
        found[byte, : len(bits)] = bits
    return found.ravel()


_BIT_OF = _table()


class Bits:
    """A set of ids in [0, n). n / 8 bytes, and as much again when `at` or `rank` is first called.

    Args:
        n: the number of samples.
        packed: its bits, the first sample in the lowest bit of byte 0; None: all n samples, in no memory.

    >>> some = Bits.empty(5)
    >>> some.put(0, np.array([True, False, True, False, True]))
    >>> len(some), some.ids(), some.at(np.array([2, 0]))
    (3, tensor([0, 2, 4]), array([4, 0]))
    """

    def __init__(self, n: int, packed: UInt8[Tensor, " bytes"] | None = None) -> None:
        self.n = n
        self.words: Any = None
        if packed is not None:
            self.words = np.zeros(-(-n // _WORD), dtype="<u8")
            self.words.view(np.uint8)[: len(packed)] = packed.numpy()
            if n % _WORD:  # bits beyond n would be counted
                self.words[-1] &= np.uint64((1 << n % _WORD) - 1)
        self._forget()

    @classmethod
    def empty(cls, n: int) -> "Bits":
        """No sample of n. Fill it with `put`."""
        return cls(n, torch.empty(0, dtype=torch.uint8))

    @classmethod
    def of(cls, n: int, ids: Int[Tensor, " k"]) -> "Bits":
        """These ids, which ascend."""
        made, array = cls.empty(n), ids.numpy()
        for start in range(0, n, PIECE):
            stop = min(n, start + PIECE)
            first, last = np.searchsorted(array, (start, stop))
            chosen = np.zeros(stop - start, dtype=bool)
            chosen[array[first:last] - start] = True
            made.put(start, chosen)
        return made

    @classmethod
    def where(cls, chosen: Bool[np.ndarray, " n"]) -> "Bits":
        """The ids of the truth values that are true."""
        return cls(len(chosen), torch.from_numpy(np.packbits(chosen, bitorder="little")))

    def _forget(self) -> None:
        """Drop what was computed of the bits."""
        self._count: int | None = None
        self._before: Any = None
        self._hints: Any = None
        self._tensor: Tensor | None = None

    # ------------------------------------------------------------------------- piece by piece

    def put(self, start: int, chosen: Bool[np.ndarray, " part"]) -> None:
        """Write the truth values of the samples from `start` on, which is a multiple of 64."""
        found = np.packbits(chosen, bitorder="little")
        self.words.view(np.uint8)[start // 8 : start // 8 + len(found)] = found
        self._forget()

    def part(self, start: int, stop: int) -> Bool[np.ndarray, " part"]:
        """The truth values of the samples from `start`, a multiple of 8, to `stop`."""
        if self.words is None:
            return np.ones(stop - start, dtype=bool)
        packed = self.words.view(np.uint8)[start // 8 : -(-stop // 8)]
        found: np.ndarray = np.unpackbits(packed, count=stop - start, bitorder="little").view(bool)
        return found

    def parts(self) -> Iterator[tuple[int, Bool[np.ndarray, " part"]]]:
        """The first sample of each piece, and the truth values of the piece."""
        for start in range(0, self.n, PIECE):
            yield start, self.part(start, min(self.n, start + PIECE))

    def packed(self) -> UInt8[Tensor, " bytes"]:
        """The bits as bytes: those of `numpy.packbits(..., bitorder="little")`."""
        if self.words is None:
            full = torch.full((-(-self.n // 8),), 255, dtype=torch.uint8)
            if self.n % 8:
                full[-1] = (1 << self.n % 8) - 1
            return full
        return torch.from_numpy(self.words.view(np.uint8)[: -(-self.n // 8)].copy())

    # --------------------------------------------------------------------------------- of sets

    def without(self, other: "Bits") -> "Bits":
        """The samples of this set that are not in the other."""
        made = Bits.empty(self.n)
        if other.words is not None:
            mine = Bits(self.n, self.packed()).words if self.words is None else self.words
            np.bitwise_and(mine, np.invert(other.words), out=made.words)
        return made

    def __or__(self, other: "Bits") -> "Bits":
        """The samples of either set."""
        if self.words is None or other.words is None:
            return Bits(self.n)
        made = Bits.empty(self.n)
        np.bitwise_or(self.words, other.words, out=made.words)
        return made

    def __len__(self) -> int:
        if self._count is None:
            self._count = self.n if self.words is None else sum(int(part.sum()) for part in self._counts())
        return self._count

    def _counts(self) -> Iterator[Any]:
        """The number of samples in each word, piece by piece."""
        for start in range(0, len(self.words), PIECE // 8):
            yield ((_in_bytes(self.words[start : start + PIECE // 8]) * _ONES) >> _U[56]).astype(np.int64)

    # ------------------------------------------------------------------------- ids and ranks

    def ids(self) -> Int[Tensor, " k"]:
        """All ids, ascending: 8 bytes each."""
        if self.words is None:
            return torch.arange(self.n)
        found, end = np.empty(len(self), dtype=np.int64), 0
        for start, chosen in self.parts():
            rows = np.flatnonzero(chosen)
            np.add(rows, start, out=found[end : end + len(rows)])
            end += len(rows)
        return torch.from_numpy(found)

    def has(self, ids: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Whether each id is in the set, on the device of the ids."""
        if self.words is None:
            return torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        if self._tensor is None or self._tensor.device != ids.device:
            self._tensor = torch.from_numpy(self.words.view(np.int64)).to(ids.device)
        return (self._tensor.index_select(0, ids >> 6) >> (ids & 63) & 1).bool()

    def at(self, ranks: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        """The id of each rank: `ids()[ranks]`, without the list of ids."""
        if self.words is None:
            return ranks
        self._index()
        before = self._before
        # Every 64th rank has a hint. Between two hints a word is found by bisection.
        word = self._hints.take(ranks >> 6).astype(np.int64)
        last = self._hints.take((ranks >> 6) + 1).astype(np.int64)
        while (word < last).any():
            middle = (word + last + 1) >> 1
            right = before.take(middle) <= ranks
            word, last = np.where(right, middle, word), np.where(right, last, middle - 1)
        inside = (ranks - before.take(word)).astype(np.uint64)
        found: np.ndarray = (word << 6) + _bit_at(self.words.take(word), inside)
        return found

    def rank(self, ids: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        """The number of samples of the set below each id: the inverse of `at` for ids of the set."""
        if self.words is None:
            return ids
        self._index()
        word = ids >> 6
        below = (_U[1] << (ids & 63).astype(np.uint64)) - _U[1]
        inside = (_in_bytes(self.words.take(word) & below) * _ONES) >> _U[56]
        found: np.ndarray = self._before.take(word) + inside.astype(np.int64)
        return found

    def _index(self) -> None:
        """Count the samples before each word, and note the word of every 64th rank."""
        if self._before is not None:
            return
        kind = np.uint32 if self.n < 1 << 32 else np.int64
        self._before, total, start = np.empty(len(self.words), dtype=kind), 0, 0
        for part in self._counts():
            sums = part.cumsum()
            self._before[start : start + len(part)] = sums - part + total
            total, start = total + int(sums[-1]), start + len(part)
        self._count = total
        steps = -(-total // _STEP)
        self._hints = np.empty(steps + 1, dtype=kind)
        self._hints[steps] = len(self.words) - 1
        for start in range(0, steps, PIECE):
            ranks = np.arange(start, min(steps, start + PIECE), dtype=np.int64) * _STEP
            words = np.searchsorted(self._before, ranks.astype(kind), side="right") - 1
            self._hints[start : start + len(ranks)] = words

    def __getstate__(self) -> dict[str, Any]:
        # What `at` needs is computed again where a copy needs it.
        return {"n": self.n, "words": self.words}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()


def _in_bytes(words: Any) -> Any:
    """The number of set bits in each byte of 64-bit words."""
    pairs = words - (words >> _U[1] & _TWOS)
    fours = (pairs & _FOURS) + (pairs >> _U[2] & _FOURS)
    return fours + (fours >> _U[4]) & _EIGHTS


def _bit_at(words: Any, ranks: Any) -> Any:
    """The position of the bit of each rank inside its word (S. Vigna, broadword select)."""
    sums = _in_bytes(words) * _ONES  # byte i: the set bits of bytes 0 to i
    bytes_before = ((((ranks * _ONES | _HIGH) - sums & _HIGH) >> _U[7]) * _ONES) >> _U[56]
    shift = bytes_before << _U[3]
    inside = ranks - ((sums << _U[8]) >> shift & _BYTE)
    byte = words >> shift & _BYTE
    return (shift + _BIT_OF.take((byte << _U[3]) + inside)).astype(np.int64)
