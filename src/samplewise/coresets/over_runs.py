"""What several runs say together of each sample: mean, sum, spread, upper bound; and what they cost."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Combine", "over_runs", "summed_costs"]

Combine = Literal["mean", "sum", "spread", "ucb"]

_RATE = 0.8  # the weight of the newest value in arXiv:2111.12621


def over_runs(runs: Sequence[Float[Tensor, " n"]], how: Combine) -> Float[Tensor, " n"]:
    """One number a sample. NaN if it is NaN in any run.

    A score of +inf (never learned) makes a mean, sum or bound +inf. The spread of a sample is then +inf, or 0
    if it is +inf in every run.

    >>> over_runs([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])], "spread")
    tensor([1.4142, 0.0000])
    """
    stacked = torch.stack(list(runs))
    if how == "mean":
        return stacked.mean(0)
    if how == "sum":
        return stacked.sum(0)
    if how == "spread":
        found = stacked.std(0, correction=1)
        found[(stacked == stacked[0]).all(0)] = 0
    else:
        mean, variance = stacked[0].clone(), torch.zeros_like(stacked[0])
        for new in stacked[1:]:
            deviation = new - mean
            variance += _RATE * (deviation**2 - variance)
            mean += _RATE * deviation
        found = mean + variance
    endless = stacked.isinf().any(0) & ~stacked.isnan().any(0) & (found != 0)
    return found.masked_fill(endless, float("inf"))


def summed_costs(scorings: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The total cost of several scoring runs, for each method."""
    return {
        name: {key: sum(scoring.get(name, {}).get(key, 0.0) for scoring in scorings) for key in spent}
        for name, spent in scorings[0].items()
    }
