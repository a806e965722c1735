"""Facility location: the samples that represent all the others best, and how many each represents."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["clusters", "locate"]

_CHUNK = 512


def locate(similarity: Float[Tensor, "m m"], k: int) -> Int[Tensor, " k"]:
    """The first k rows of greedy facility location, in the order of picking.

    Each pick adds most to F(S) = sum_i max_{j in S} similarity_ij, similarities being >= 0. Nothing is
    revalued but what a pick improved: if the best of row i rises from a to b, the gain of every j
    falls by clip(similarity_ij, a, b) - a (a is the same for all j, and left out). A pick improves
    ever fewer rows, about m / picks of them, so that the order of the gains costs O(m^2 log k) in
    total. Equal gains: the lower row.

    >>> locate(torch.tensor([[3.0, 2.0, 0.0], [2.0, 3.0, 1.0], [0.0, 1.0, 3.0]]), 2)
    tensor([1, 2])
    """
    best = torch.zeros(len(similarity))
    gain = similarity.sum(0, dtype=torch.float64)
    order = torch.empty(k, dtype=torch.int64)
    for i in range(k):
        pick = gain.argmax()
        order[i] = pick
        better = (similarity[pick] > best).nonzero().squeeze(1)
        for rows in torch.split(better, _CHUNK):
            low, high = best[rows, None], similarity[pick, rows, None]
            gain -= similarity[rows].clamp_(low, high).sum(0, dtype=torch.float64)
        best[better] = similarity[pick, better]
        gain[pick] = -torch.inf
    return order


def clusters(similarity: Float[Tensor, "m m"], order: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """The number of rows that each pick represents best. Equally near rows count for the first pick.

    >>> clusters(torch.tensor([[3.0, 2.0, 0.0], [2.0, 3.0, 1.0], [0.0, 1.0, 3.0]]), torch.tensor([1, 2]))
    tensor([2, 1])
    """
    best = torch.full((len(similarity),), -torch.inf)
    owner = torch.zeros(len(similarity), dtype=torch.int64)
    for i, pick in enumerate(order.tolist()):
        better = similarity[pick] > best
        best = torch.maximum(best, similarity[pick])
        owner[better] = i
    return owner.bincount(minlength=len(order))
