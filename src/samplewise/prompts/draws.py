"""Draws of prompts whose pass rate is close to 1/2, from a Beta posterior of each."""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.pickers.ranking import top

__all__ = ["Draw", "closest"]

Draw = Literal["thompson", "mean", "uniform"]

_HALF = 0.5
"""The pass rate p at which a group's rewards vary most: p (1 - p) is largest."""


def closest(
    alpha: Float[Tensor, " m"], beta: Float[Tensor, " m"], k: int, draw: Draw, rng: np.random.Generator
) -> Int[Tensor, " k"]:
    """Rows of the k pass rates closest to 1/2, without repeats and in a random order; all if k >= m.

    `thompson` draws one pass rate for each row from Beta(alpha, beta), in the order of the rows. `mean` takes
    alpha / (alpha + beta), and ties at random. `uniform` ignores the posterior. Then one permutation of
    the rows is drawn, which orders the result.

    Source: the top-B rule and the posterior draws of MoPPS (arXiv:2507.04632).
    """
    rates: Any = None
    if draw == "thompson":
        rates = rng.beta(alpha.double().numpy(), beta.double().numpy())
    elif draw == "mean":
        rates = (alpha.double() / (alpha.double() + beta.double())).numpy()
    order = torch.from_numpy(rng.permutation(len(alpha)))
    if rates is None:
        return order[:k]
    nearness = -(torch.from_numpy(rates) - _HALF).abs()
    return order[top(nearness[order], k)]
