"""Signals of each sample's matrix of logits, one row a token: its nuclear norm, and a random projection."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.rng import generator

__all__ = ["Projection", "hartley", "nuclear_norm"]


def nuclear_norm(logits: Float[Tensor, "b ... c"]) -> Float[Tensor, " b"]:
    """The sum of the singular values of each sample's logits (t, c); for one row (c,) its length.

    Rows of zeros, such as those of padding, change nothing. Time O(min(t, c)^2 max(t, c)) a sample.

    >>> nuclear_norm(torch.tensor([[3.0, 4.0], [0.0, 2.0]])), nuclear_norm(torch.eye(3)[None])
    (tensor([5., 2.]), tensor([3.]))
    """
    if logits.ndim == 2:
        norm: Tensor = torch.linalg.vector_norm(logits, dim=1)
        return norm
    values: Tensor = torch.linalg.svdvals(logits)
    return values.sum(1)


@checked
@dataclass(frozen=True)
class Projection:
    """A signal: the logits of each sample, projected to at most `width` x `depth` numbers.

    z = vec(P L R^T) for the matrix L of t tokens and c classes, with R (width, c) and P (depth, `length`).
    Each is sqrt(size / rows) S H D: random signs D, the orthonormal Hartley transform H (the real form of
    the discrete Fourier transform), and S, that many of its rows, drawn without replacement. On average over
    the draws, |z - z'| is the Frobenius norm of L - L'. An axis that is not longer than its projection is
    left as it is. So for a classifier with c <= `width`, z is its logits. Sequences are padded with zeros
    to `length` tokens. The draws are the same in every run and process.

    Args:
        width: numbers that the classes, or the words, are projected to.
        depth: numbers that the tokens are projected to.
        length: the largest number of tokens.

    Raises:
        ValueError: for a sequence of more than `length` tokens.
    """

    width: Annotated[int, Range(1)] = 128
    depth: Annotated[int, Range(1)] = 8
    length: Annotated[int, Range(1)] = 512
    __name__: ClassVar[str] = "projection"

    def __call__(self, logits: Float[Tensor, "b ... c"]) -> Float[Tensor, "b d"]:
        found = _projected(logits, self.width)
        if found.ndim == 2:
            return found
        if found.shape[1] > self.length:
            raise ValueError(
                f"Projection.length must be at least the number of tokens, {found.shape[1]}, got "
                f"{self.length}. Give a larger length, the same for the whole training."
            )
        # The transform of tokens and that of classes can come in any order. This one has the smaller padding.
        padded = torch.nn.functional.pad(found.mT, (0, self.length - found.shape[1]))
        return _projected(padded, self.depth).mT.flatten(1)


def hartley(x: Float[Tensor, "*s n"]) -> Float[Tensor, "*s n"]:
    """The orthonormal Hartley transform over the last axis.

    y_k = sum_j (cos(2 pi j k / n) + sin(2 pi j k / n)) x_j / sqrt(n). It is its own inverse.

    >>> hartley(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    spectrum: Tensor = torch.fft.fft(x, norm="ortho")
    return spectrum.real - spectrum.imag


def _projected(x: Float[Tensor, "*s n"], rows: int) -> Float[Tensor, "*s r"]:
    """The last axis projected to `rows` numbers, or as it is if it has no more."""
    n = x.shape[-1]
    if n <= rows:
        return x
    signs, kept = _draws(n, rows, x.device)
    rest: Tensor = hartley(x * signs)[..., kept]
    return rest * math.sqrt(n / rows)


@lru_cache(maxsize=8)
def _draws(n: int, rows: int, device: torch.device) -> tuple[Float[Tensor, " n"], Int[Tensor, " r"]]:
    """The random signs of n numbers, and the rows of the transform that are kept."""
    rng = generator("projection", n, rows)
    signs = torch.randint(2, (n,), generator=rng) * 2.0 - 1.0
    return signs.to(device), torch.randperm(n, generator=rng)[:rows].to(device)
