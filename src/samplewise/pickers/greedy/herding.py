"""Herding: samples whose running mean stays as close as possible to the mean of all."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["herd"]


def herd(features: Float[Tensor, "m d"], k: int) -> Int[Tensor, " k"]:
    """The first k rows, in the order of picking: argmin ||(i + 1) mean - sum(picked) - x|| each time.

    With features y = x - mean this is the smallest ||sum(picked y) + y||, so one product of the
    features with a vector a pick: O(k m d) time and, beside the centred features, O(m) memory.
    Equal distances: the lower row.

    >>> herd(torch.tensor([[0.0], [1.0], [5.0], [6.0]]), 4)  # the mean is 3
    tensor([1, 2, 0, 3])
    """
    # By a power of two, which changes no digit: squares of very large and small numbers do not fit float32.
    largest = float(features.abs().max()) if features.numel() else 0.0
    features = torch.ldexp(features, torch.tensor(-math.frexp(largest)[1]))
    centred = features - features.mean(0, dtype=torch.float64).float()
    squares = centred.square().sum(1, dtype=torch.float64)
    total = torch.zeros(centred.shape[1], dtype=torch.float64)
    order = torch.empty(k, dtype=torch.int64)
    for i in range(k):
        pick = (squares + 2 * (centred @ total.float())).argmin()
        order[i] = pick
        squares[pick] = float("inf")
        total += centred[pick]
    return order
