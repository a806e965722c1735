"""The graph of nearest neighbors: exact, in blocks of rows, with ties and duplicates in the order of rows."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.pickers.greedy.classes import places

__all__ = ["Graph", "graph_of", "nearest"]

_ROWS = 512
_SPARE = 16
"""Candidates beyond k that an inexact search brings, so that an exact one can order them."""
_ROUNDING = 2.0**-24
"""The relative error of one operation in float32."""
_TINY = 1e-30
"""More than what is lost where products are too small for float32."""


class Graph(NamedTuple):
    """An undirected graph of m nodes. The edges of node i are the entries starts[i] to starts[i + 1] - 1.

    `others` (2e,) are the nodes at their other ends, ascending, and `squares` (2e,) the squared distances.
    """

    starts: Int[Tensor, " m1"]
    others: Int[Tensor, " e2"]
    squares: Float[Tensor, " e2"]


def graph_of(features: Float[Tensor, "m d"], k: int) -> Graph:
    """Join each row with its k nearest others: an edge exists if either end is near to the other.

    With fewer than k others, all of them are near. 24 bytes an entry, at most 2 k m of them.

    >>> graph_of(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    Graph(starts=tensor([0, 1, 3, 4]), others=tensor([1, 0, 2, 1]), squares=tensor([1., 1., 4., 4.], \
dtype=torch.float64))
    """
    m = len(features)
    near = nearest(features, k)
    rows = torch.arange(m)[:, None].expand_as(near)
    pairs = torch.unique(torch.minimum(rows, near) * m + torch.maximum(rows, near))
    low, high = pairs // m, pairs % m
    squares = torch.empty(len(pairs), dtype=torch.float64)
    for part in torch.split(torch.arange(len(pairs)), _ROWS * _SPARE):
        squares[part] = (features[low[part]].double() - features[high[part]].double()).square().sum(1)
    ends, others = torch.cat([low, high]), torch.cat([high, low])
    order = (ends * m + others).argsort()
    starts = torch.zeros(m + 1, dtype=torch.int64)
    starts[1:] = ends.bincount(minlength=m).cumsum(0)
    return Graph(starts, others[order], squares.repeat(2)[order])


def nearest(features: Float[Tensor, "m d"], k: int) -> Int[Tensor, "m j"]:
    """The k nearest other rows of each row, nearest first; equal distances in the order of rows.

    j is k, or m - 1 if that is less. Distances are Euclidean. A product in float32 gives each row some more
    candidates than k, whose distances are then computed in float64. A bound on the rounding of the product
    says whether a row that is no candidate could be nearer. If it could, that row is compared with all.

    Time O(m^2 d). Memory beside the features: 16 d + 2048 bytes a row.

    >>> nearest(torch.tensor([[0.0], [1.0], [3.0], [1.0]]), 2)
    tensor([[1, 3],
            [3, 0],
            [1, 3],
            [1, 0]])
    """
    m = len(features)
    j = min(k, m - 1)
    found = torch.empty(m, max(0, j), dtype=torch.int64)
    if j < 1:
        return found
    # Of equal rows only the first k can be the nearest of another row, and the first k + 1 of their own.
    equal = torch.unique(features + 0.0, dim=0, return_inverse=True)[1]
    columns = (places(equal) <= k).nonzero().squeeze(1)
    points = features[columns].double()
    left, right, own, scale = _lower_bounds(features, columns)
    spare = min(len(columns), j + 1 + _SPARE)
    for rows in torch.split(torch.arange(m), _ROWS):
        bounds, candidates = torch.from_numpy(left[rows.numpy()] @ right).topk(spare, largest=False)
        candidates = candidates.sort(1).values  # so that a stable sort leaves equal distances in order
        apart = (features[rows].double()[:, None] - points[candidates]).square_().sum(2)
        apart[columns[candidates] == rows[:, None]] = math.inf
        best = apart.sort(dim=1, stable=True)
        found[rows] = columns[candidates.gather(1, best.indices[:, :j])]
        if spare == len(columns):
            continue
        sure = bounds[:, -1].double() + own[rows] > best.values[:, j - 1] * scale + _TINY
        for row in rows[~sure].tolist():
            apart = (features[row].double() - points).square_().sum(1)
            apart[columns == row] = math.inf
            found[row] = columns[apart.sort(stable=True).indices[:j]]
    return found


def _lower_bounds(
    features: Float[Tensor, "m d"], columns: Int[Tensor, " c"]
) -> tuple[Float[np.ndarray, "m d1"], Float[np.ndarray, "d1 c"], Float[Tensor, " m"], float]:
    """Factors of a lower bound of squared distances: (left @ right)[i, j] + own[i] <= scale * d_ij^2.

    |z_i - z_j|^2 is n_i + n_j - 2 z_i z_j for centred and scaled rows z and their squared lengths n. All
    rounding together changes it by less than (n_i + n_j) times a small number, which is subtracted.
    numpy multiplies, because torch may be set to multiply float32 with less precision.
    """
    largest = float(features.abs().max())
    power = -math.frexp(largest)[1]  # squares of very large and small numbers do not fit float32
    z = torch.ldexp(features.float(), torch.tensor(power))
    z -= z.mean(0, dtype=torch.float64).float()
    lengths = z.double().square().sum(1) * (1 - (4 * z.shape[1] + 32) * _ROUNDING)
    left = torch.cat([-2 * z, torch.ones(len(z), 1)], dim=1)
    right = torch.cat([z, lengths.float()[:, None]], dim=1)[columns]
    return left.numpy(), right.numpy().T, lengths, 2.0 ** (2 * power)
