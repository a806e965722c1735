"""The ladder: ordinary training of every length, which a method of the same cost is held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

__all__ = ["Ladder", "nearest_below", "rungs"]

SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 1.0)
"""The lengths of `full` in shares of the study's epochs."""
LONGER = (5 / 4, 3 / 2)
"""Further lengths, for methods that cost more than full training."""


def rungs(epochs: int, longer: bool = False) -> tuple[int, ...]:
    """The numbers of epochs of the ladder: whole, at least 1, each once, ascending.

    Args:
        epochs: of full training.
        longer: whether some method costs more than full training.

    >>> rungs(16), rungs(4), rungs(4, longer=True)
    ((2, 4, 6, 8, 10, 12, 16), (1, 2, 3, 4), (1, 2, 3, 4, 5, 6))
    """
    shares = SHARES + (LONGER if longer else ())
    return tuple(sorted({max(1, round(share * epochs)) for share in shares}))


@dataclass(frozen=True)
class Ladder:
    """Costs and results of `full` at every rung, for every seed.

    Results are better when they are higher; give a loss with its sign changed.

    Args:
        cost: (rungs, seeds), in one unit, ascending along the rungs.
        test: (rungs, seeds), the result that is judged.
        validation: (rungs, seeds), the result on the validation split, which decides between rungs.
    """

    cost: ndarray
    test: ndarray
    validation: ndarray

    def __post_init__(self) -> None:
        shapes = {self.cost.shape, self.test.shape, self.validation.shape}
        if len(shapes) != 1 or self.cost.ndim != 2:
            raise ValueError(
                f"a ladder needs cost, test and validation of one shape (rungs, seeds), got {shapes}."
            )
        if len(self.cost) < 2:
            raise ValueError("a ladder needs at least 2 rungs, got 1. Train for more epochs.")
        if not all(np.isfinite(part).all() for part in (self.cost, self.test, self.validation)):
            raise ValueError("a ladder needs finite costs and results. A run of `full` may have diverged.")
        if (np.diff(self.cost, axis=0) <= 0).any():
            raise ValueError("the costs of a ladder must ascend along its rungs.")

    def covers(self, seed: int, cost: float) -> bool:
        """Whether `cost` lies between the first and the last rung of this seed."""
        return bool(self.cost[0, seed] <= cost <= self.cost[-1, seed])

    def at(self, seed: int, cost: float) -> float:
        """The result of ordinary training that costs `cost`, for the seed with this index.

        It is linear between rungs, or the best rung that costs at most `cost` if that is better: full
        training may get worse with length. The mean of the other seeds on validation decides which. The
        seed's own maximum would be biased upward.

        Raises:
            ValueError: if the cost lies outside the ladder.
        """
        own = self.cost[:, seed]
        if not self.covers(seed, cost):
            raise ValueError(
                f"the cost {cost:g} lies outside the ladder, which goes from {own[0]:g} to {own[-1]:g}."
            )
        others = np.delete(self.validation, seed, axis=1)
        means = others.mean(axis=1) if others.shape[1] else self.validation[:, seed]
        best = int(np.argmax(means[own <= cost]))
        if means[best] > np.interp(cost, own, means):
            return float(self.test[best, seed])
        return float(np.interp(cost, own, self.test[:, seed]))

    def gains_at_the_end(self, delta: float, full: int = -1) -> bool:
        """Whether the last third of full training gains at least `delta`, in the mean over seeds.

        If not, the task can only show that training was too long: every method that trains less looks good.
        The judged result decides, not the validation split, which may have another distribution.

        Args:
            delta: the smallest gain that matters.
            full: the rung of full training. A ladder that methods lengthened goes on beyond it.
        """
        means, costs = self.test.mean(axis=1), self.cost.mean(axis=1)
        return bool(means[full] - np.interp(costs[full] * 2 / 3, costs, means) >= delta)


def nearest_below(epochs: Mapping[int, float], cost: float) -> int | None:
    """The number of epochs of `full` that costs the most of those that cost at most `cost`.

    Args:
        epochs: numbers of epochs, and what they cost.
        cost: the median cost of a method.
    """
    fitting: Sequence[int] = [number for number, units in epochs.items() if units <= cost]
    return max(fitting, default=None)
