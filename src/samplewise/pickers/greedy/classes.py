"""Greedy choices class by class: blocks of large classes, budgets, and one order over all."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.pickers import ranking

__all__ = ["Groups", "capped", "groups", "interleave", "merged", "places", "quotas"]


class Groups(NamedTuple):
    """For each of m rows the class (from 0) and the group; a group is a class or a block of one."""

    of: Int[Tensor, " m"]
    group: Int[Tensor, " m"]

    @property
    def members(self) -> list[Tensor]:
        """The rows of every group, ascending."""
        return list(_runs(self.group))


def groups(labels: Int[Tensor, " m"], block: int | None, rng: torch.Generator) -> Groups:
    """Every class is a group, unless it has more than `block` rows: then it is split at random, evenly.

    >>> groups(torch.tensor([7, 3, 7]), None, torch.Generator()).group
    tensor([1, 0, 1])
    """
    of = torch.unique(labels, return_inverse=True)[1]
    sizes = of.bincount().tolist()
    if block is None or max(sizes, default=0) <= block:
        return Groups(of, of)
    group = torch.empty_like(of)
    used = 0
    for members in _runs(of):
        parts = -(-len(members) // block)
        shuffled = members[torch.randperm(len(members), generator=rng)] if parts > 1 else members
        for part in shuffled.tensor_split(parts):
            group[part] = used
            used += 1
    return Groups(of, group)


def quotas(k: int, into: Groups) -> Int[Tensor, " g"]:
    """K picks divided among the classes by largest remainder, then among the blocks of each."""
    first = torch.tensor([int(into.of[rows[0]]) for rows in into.members])
    sizes = into.group.bincount()
    shares = torch.empty_like(sizes)
    for c, quota in enumerate(ranking.largest_remainder(k, into.of.bincount()).tolist()):
        shares[first == c] = ranking.largest_remainder(quota, sizes[first == c])
    return shares


def capped(k: int, sizes: Int[Tensor, " c"], most: Int[Tensor, " c"]) -> Int[Tensor, " c"]:
    """K divided by largest remainder, with at most `most` for each: the rest goes to the next remainders.

    A larger total can give a class less, so an order made for one keep may be short by one elsewhere.

    >>> capped(3, torch.tensor([5, 4]), torch.tensor([1, 4]))
    tensor([1, 2])
    """
    shares = ranking.largest_remainder(k, sizes).minimum(most)
    while (left := k - int(shares.sum())) > 0:
        wanting = (sizes * k - shares * sizes.sum()).masked_fill(shares >= most, torch.iinfo(torch.int64).min)
        shares[ranking.top(wanting, min(left, int((shares < most).sum())))] += 1
    return shares


def interleave(
    sequence: Int[Tensor, " k"], place: Int[Tensor, " k"], sizes: Int[Tensor, " s"]
) -> Int[Tensor, " k"]:
    """One order of the items of several sequences: by (place + 1) / size of their sequence, then its number.

    >>> interleave(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.tensor([2, 4]))
    tensor([2, 0, 3, 1])
    """
    share: Float[Tensor, " k"] = (place + 1).double() / sizes[sequence]
    return torch.from_numpy(np.lexsort((sequence.numpy(), share.numpy())))


def merged(
    into: Groups, rows: Int[Tensor, " k"], group: Int[Tensor, " k"], place: Int[Tensor, " k"]
) -> Int[Tensor, " k"]:
    """One order of picks from all groups, given each pick's group and place there.

    First the blocks of a class are interleaved, then the classes, so that every beginning is balanced.
    """
    order = interleave(group, place, into.group.bincount())
    of = into.of[rows][order]
    return order[interleave(of, places(of), into.of.bincount())]


def places(sequence: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """How many items of the same sequence come before each item.

    >>> places(torch.tensor([5, 0, 5, 5]))
    tensor([0, 0, 1, 2])
    """
    place = torch.empty_like(sequence)
    for members in _runs(sequence):
        place[members] = torch.arange(len(members))
    return place


def _runs(sequence: Int[Tensor, " k"]) -> tuple[Int[Tensor, " g"], ...]:
    """The rows of every number, ascending."""
    return torch.split(sequence.argsort(stable=True), sequence.bincount().tolist())
