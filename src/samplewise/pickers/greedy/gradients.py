"""Inner products, distances and sums of last-layer gradients, from residuals and features alone."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["brought_down", "gram", "similarity", "toward_sum"]

_CHUNK = 512
# Squared distances below this share of the squared norms are rounding errors of their float64 products.
_ROUNDING = 1e-13
# Norms of gradients whose products, and sums of very many of them, fit float32.
_LARGE = 2.0**50


def gram(residual: Float[Tensor, "m c"], features: Float[Tensor, "m d"]) -> Float[Tensor, "m m"]:
    """All inner products of the gradients: formed in float64 by chunks of rows, kept in 4 m^2 bytes.

    >>> r, h = torch.tensor([[0.5, -0.5], [-1.0, 1.0]]), torch.tensor([[1.0], [3.0]])
    >>> gram(r, h)
    tensor([[ 1., -4.],
            [-4., 20.]])
    """
    out = torch.empty(len(residual), len(residual))
    for part, rest, products in _products(residual.double(), features.double()):
        out[part, rest] = products
        out[rest, part] = products.T
    return out


def similarity(residual: Float[Tensor, "m c"], features: Float[Tensor, "m d"]) -> Float[Tensor, "m m"]:
    """The largest Euclidean distance between two gradients, minus the distance of every pair: 4 m^2 bytes.

    >>> r, h = torch.tensor([[0.5, -0.5], [-1.0, 1.0]]), torch.tensor([[1.0], [3.0]])
    >>> similarity(r, h)  # the squared distance is 1 + 20 + 2 * 4
    tensor([[5.3852, 0.0000],
            [0.0000, 5.3852]])
    """
    r, h = residual.double(), features.double()
    norms = r.square().sum(1) * (1 + h.square().sum(1))
    out = torch.empty(len(r), len(r))
    for part, rest, products in _products(r, h):
        both = norms[part, None] + norms[rest]
        squared = products.mul_(-2).add_(both)
        squared[squared < _ROUNDING * both] = 0
        distances = squared.sqrt_()
        out[part, rest] = distances
        out[rest, part] = distances.T
    out.fill_diagonal_(0)
    return out.neg_().add_(-out.min())


def brought_down(
    residual: Float[Tensor, "m c"], features: Float[Tensor, "m d"]
) -> tuple[Float[Tensor, "m c"], float]:
    """The residuals in float64 over a power of two, where products of gradients would not fit float32.

    Returns them, and what the gradients were divided by; 1 for gradients of an ordinary size.

    >>> brought_down(torch.tensor([[1.0]]), torch.tensor([[2.0**80]]))[1] == 2.0**80
    True
    """
    r, h = residual.double(), features.double()
    largest = float((r.square().sum(1) * (1 + h.square().sum(1))).max().sqrt()) if len(r) else 0.0
    over = 2.0 ** math.floor(math.log2(largest)) if largest > _LARGE else 1.0
    return r / over, over


def toward_sum(
    residual: Float[Tensor, "m c"], features: Float[Tensor, "m d"]
) -> tuple[Float[Tensor, " m"], float]:
    """The inner product of every gradient with the sum of all, and the squared norm of that sum.

    >>> toward_sum(torch.tensor([[0.5, -0.5], [-1.0, 1.0]]), torch.tensor([[1.0], [3.0]]))
    (tensor([-3., 16.], dtype=torch.float64), 13.0)
    """
    r, h = residual.double(), features.double()
    bias, weight = r.sum(0), r.T @ h
    goal = (r * (h @ weight.T + bias)).sum(1)
    return goal, float(bias.square().sum() + weight.square().sum())


def _products(
    r: Float[Tensor, "m c"], h: Float[Tensor, "m d"]
) -> Iterator[tuple[slice, slice, Float[Tensor, "..."]]]:
    """The inner products on and above the diagonal, some rows at a time: rows, columns, products."""
    for start in range(0, len(r), _CHUNK):
        part, rest = slice(start, start + _CHUNK), slice(start, None)
        yield part, rest, (h[part] @ h[rest].T).add_(1).mul_(r[part] @ r[rest].T)
