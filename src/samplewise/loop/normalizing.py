"""Means of losses divided by what the samples add up to, as torch does with class weights."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from samplewise.distributed import collectives

__all__ = ["normalized"]


def normalized(
    factors: Float[Tensor, " k"] | None, normalizer: Shaped[Tensor, " k"], real: int | None
) -> Float[Tensor, " k"]:
    """The factors of a mean, divided by the mean normalizer of the rows; all 0 if that is 0.

    With `real`, the number of leading rows that are no padding, the mean is over those of all processes.
    """
    given = normalizer.detach()
    given = given if given.dtype is torch.float64 else given.float()
    rows = given if real is None else given[:real]
    added, count = rows.sum(), torch.tensor(float(len(rows))).to(given)
    if real is not None:
        added, count = collectives.add_up(torch.stack([added, count])).unbind()
    if factors is None:
        factors = torch.full_like(given, 1 / len(given))
    return factors * torch.where(added > 0, count / added, 0).to(factors)
