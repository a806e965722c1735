"""`Gate`: whether selection saves time, by a test on measured seconds; no torch, no clock of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Literal

import numpy as np

from samplewise.checks import Range, checked

__all__ = ["LEVEL", "LOOKS", "Comparison", "Gate", "Verdict", "chance_above", "typical"]

LEVEL = 0.05
"""The chance that noise alone turns selection off, over all looks together."""
LOOKS = 5
"""How often a comparison looks at its numbers at most. Each look has twice the numbers of the one before."""
_EQUAL = 1e-9
"""Smaller differences of logarithms are rounding."""

Verdict = Literal["costs", "pays", "open", "undecided", "unmeasured"]


@checked
@dataclass(frozen=True)
class Gate:
    """When selection that costs more time than it saves is turned off.

    Args:
        margin: the share of a plain step that selection must save. A plain step trains on all rows.
        probation: narrowed steps that are measured before the first decision; for methods that choose for
            whole epochs the first decision comes after 6 epochs, or 6 periods.
        accumulate: micro-batches of one optimizer step, if your loop accumulates gradients. The adapters of
            Lightning and of the Trainer set it.
    """

    margin: Annotated[float, Range(0, 1, open_high=True)] = 0.0
    probation: Annotated[int, Range(20)] = 20
    accumulate: Annotated[int, Range(1)] = 1

    @property
    def limit(self) -> float:
        """What selection may cost, in plain steps."""
        return 1 - self.margin


def chance_above(differences: Sequence[float]) -> float:
    """The one-sided p of the signed-rank test: whether differences are above 0 more than chance explains.

    It is exact for any number of differences that are symmetric around 0, with any tails, ties included.
    Differences of 0 are left out. Source: Wilcoxon 1945, 10.2307/3001968.

    >>> chance_above([0.1, 0.2, 0.3])  # one of the 8 ways to put signs
    0.125
    """
    d = np.array([x for x in differences if abs(x) > _EQUAL])
    if not len(d):
        return 1.0
    # Numbers that differ by rounding only have one rank.
    _, places, counts = np.unique(np.round(np.abs(d), 9), return_inverse=True, return_counts=True)
    twice = (2 * np.cumsum(counts) - counts + 1)[places]  # mean ranks of ties, times 2, are whole
    chances = np.ones(1)  # of each sum of the ranks above 0
    ranks = twice // 2 if (counts == 1).all() else twice
    for rank in np.sort(ranks).tolist():
        more = np.zeros(len(chances) + rank)
        more[: len(chances)] = chances
        more[rank:] += chances
        chances = more / 2
    return float(chances[int(ranks[d > 0].sum()) :].sum())


class Comparison:
    """Costs of selection in plain steps, one after the other, and what they show.

    It looks at `first` costs, and then each time that their number has doubled. Look i, from 0 on, may be
    wrong with a chance of `LEVEL` / 2^(i + 1), so all looks together with less than `LEVEL` (alpha spending:
    Lan and DeMets 1983, 10.1093/biomet/70.3.659).

    Args:
        first: the number of costs at the first look.
        limit: the cost that selection may have.
    """

    def __init__(self, first: int, limit: float) -> None:
        self.first, self.limit = first, limit
        self.costs: list[float | None] = []
        """None: could not be measured."""
        self.looks = 0

    @property
    def due(self) -> bool:
        """Whether it is time for a look."""
        return len(self.costs) >= self.first << self.looks

    def look(self, costs: Sequence[float | None]) -> Verdict:
        """What the costs show: those of this process, or means over all processes."""
        level = LEVEL / 2 ** (self.looks + 1)
        self.looks += 1
        found = [math.log(cost / self.limit) for cost in costs if cost is not None and cost > 0]
        if 2 * len(found) < len(costs):
            return "unmeasured"
        if chance_above(found) <= level:
            return "costs"
        if chance_above([-x for x in found]) <= level:
            return "pays"
        return "open" if self.looks < LOOKS else "undecided"


def typical(costs: Sequence[float | None]) -> float:
    """The median cost."""
    return float(median([cost for cost in costs if cost is not None and cost > 0] or [math.nan]))
