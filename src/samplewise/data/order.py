"""`Permutation` and `Order`: the samples of an epoch in random order, computed piece by piece when needed."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.data.bits import Bits

__all__ = ["Order", "Permutation"]

_ROUNDS = 8
_SMALL, _ROUNDS_OF_SMALL = 1 << 16, 24
"""Tables of few rows hold few random numbers, so small permutations take more of them."""


class Permutation:
    """A permutation of range(n) that is drawn from a generator, in 32 sqrt(n) bytes: a Feistel network.

    A number is a pair of digits (left, right) of about sqrt(n) values each. Every round adds to one digit a
    random number that depends on the other: any such round can be undone, so the whole is one-to-one. The
    random numbers of a round are a table. Pairs beyond n are mapped again until they are below n
    (J. Black and P. Rogaway, "Ciphers with arbitrary finite domains", 2002).

    Args:
        n: the number of values, below 2^63.
        rng: draws the tables.

    >>> permutation = Permutation(5, torch.Generator().manual_seed(0))
    >>> sorted(permutation(np.arange(5)).tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, rng: torch.Generator) -> None:
        self.n = n
        # An even number of left digits: with two odd numbers, all rounds would be even permutations.
        self._left = 2 * -(-(math.isqrt(max(0, n - 1)) + 1) // 2)
        self._right = max(1, -(-n // self._left))
        self._tables = []
        for number in range(_ROUNDS if n > _SMALL else _ROUNDS_OF_SMALL):
            values, rows = (self._left, self._right)[:: -1 if number % 2 else 1]
            drawn = torch.randint(values, (rows,), generator=rng)
            self._tables.append(drawn.numpy().astype(np.uint32))

    def __call__(self, positions: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        """Where each of these positions in [0, n) goes, as int64."""
        found: np.ndarray = self._once(positions)
        while len(beyond := np.flatnonzero(found >= self.n)):
            found[beyond] = self._once(found[beyond])
        return found

    def _once(self, values: Any) -> Any:
        left, right = (digit.astype(np.uint32) for digit in np.divmod(values, self._right))
        lefts, rights = np.uint32(self._left), np.uint32(self._right)
        for to_left, to_right in zip(self._tables[::2], self._tables[1::2], strict=True):
            left += to_left.take(right)
            np.minimum(left, left - lefts, out=left)  # modulo: below 0 it wraps around and is large
            right += to_right.take(left)
            np.minimum(right, right - rights, out=right)
        return left.astype(np.int64) * self._right + right


class Order:
    """Ids of a set at some positions of an order. It is sliced like a tensor, and computes ids in `split`.

    Args:
        chosen: the samples.
        permutation: of their ranks; None: the samples ascend.
        positions: in the order. They may go on beyond the end: then the order begins again.

    >>> Order(Bits(10))[2:9][::3].tolist()
    [2, 5, 8]
    """

    def __init__(
        self, chosen: Bits, permutation: Permutation | None = None, positions: range | None = None
    ) -> None:
        self.chosen, self.permutation = chosen, permutation
        self.positions = range(len(chosen)) if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, part: slice) -> "Order":
        return Order(self.chosen, self.permutation, self.positions[part])

    def over(self, positions: range) -> "Order":
        """The same order at other positions."""
        return Order(self.chosen, self.permutation, positions)

    def split(self, size: int) -> Iterator[Int[Tensor, " b"]]:
        """The ids, `size` at a time."""
        for start in range(0, len(self), size):
            at = self.positions[start : start + size]
            ranks = np.arange(at.start, at.stop, at.step, dtype=np.int64)
            if at[-1] >= len(self.chosen):
                ranks %= len(self.chosen)
            if self.permutation is not None:
                ranks = self.permutation(ranks)
            yield torch.from_numpy(self.chosen.at(ranks))

    def tolist(self) -> list[int]:
        """All ids as Python numbers."""
        return [number for piece in self.split(1 << 14) for number in piece.tolist()]
