"""Pickers over one number a sample: draws, the highest, and the rules of the dynamic methods."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.pickers import ranking
from samplewise.pickers.base import Budgeted, Counts, Keep, Picked, Picker, Pool, Rows
from samplewise.schedules import Schedule, number

__all__ = ["AdaptiveTopK", "BelowMean", "EpsilonGreedy", "HideEasy", "TopK", "Uniform", "Weighted"]


@checked
@dataclass(frozen=True)
class Uniform(Budgeted):
    """Draws uniformly, without replacement."""

    keep: Keep
    random: ClassVar[bool] = True
    on_device: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        return ranking.uniform(pool.m, k, pool.rng)


@checked
@dataclass(frozen=True)
class TopK(Budgeted):
    """The `keep` share with the highest scores; equal scores in the order of the samples."""

    keep: Keep
    by: str | None = None
    on_device: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        return ranking.top(pool.scores(self.by), k, pool.ids)


@checked
@dataclass(frozen=True)
class Weighted(Budgeted):
    """Draws without replacement, P ~ score among the rows that are left."""

    keep: Keep
    by: str | None = None
    nonnegative: ClassVar[bool] = True
    on_device: ClassVar[bool] = True
    random: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        return ranking.race(pool.scores(self.by), k, pool.rng)


@checked
@dataclass(frozen=True)
class EpsilonGreedy(Budgeted):
    """The highest scores, with floor(eps * k) of the k drawn uniformly from all the others."""

    keep: Keep
    eps: Annotated[float | Schedule, Range(0, 1)] = 0.1
    by: str | None = None
    random: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        explored = math.floor(number(self.eps) * k + 1e-9)
        chosen = np.zeros(pool.m, dtype=bool)
        chosen[ranking.top(pool.scores(self.by), k - explored, pool.ids).numpy()] = True
        others = np.flatnonzero(~chosen)
        chosen[others[ranking.uniform(len(others), explored, pool.rng).numpy()]] = True
        return torch.from_numpy(np.flatnonzero(chosen))


@checked
@dataclass(frozen=True)
class BelowMean(Picker):
    """A random `keep` share of the samples below the mean, with larger weights, and all other samples.

    Samples without a score do not count in the mean and are all kept. `exact=True` keeps int(keep * low) of
    the `low` samples below the mean, at least one, each with weight low / kept: the weights add up to all
    samples. `exact=False` keeps each with probability `keep` and weight 1 / keep. The mean is computed in
    float64: in float32 the mean of equal scores can round up, and all samples would be below it.
    """

    keep: Annotated[float | Schedule, Range(0.1, 1)] = 0.5
    exact: bool = True
    by: str | None = None
    random: ClassVar[bool] = True
    own_weights: ClassVar[bool] = True

    @property
    def counts(self) -> Counts:  # type: ignore[override]
        """How many rows it keeps: an exact or a random number, as `exact` says."""
        return "below_mean" if self.exact else "below_mean_at_random"

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return m, self.keep == 1

    def pick(self, pool: Pool) -> Picked:
        keep = number(self.keep)
        scores = pool.scores(self.by).numpy()
        seen: int = scores.size
        total = scores.sum(dtype=np.float64)
        if np.isnan(total):
            known = ~np.isnan(scores)
            seen, total = int(np.count_nonzero(known)), scores.sum(dtype=np.float64, where=known)
        # A float64 of numpy: with a Python number, the scores would be compared in float32.
        low = scores < np.float64(total / max(seen, 1))
        below = np.flatnonzero(low)
        if keep == 1 or not len(below):
            return Picked()
        if self.exact:
            kept_low = max(1, int(keep * len(below) + 1e-9))
            stays, weight = ranking.uniform(len(below), kept_low, pool.rng).numpy(), len(below) / kept_low
        else:
            weight = 1 / keep
            stays = torch.rand(len(below), dtype=torch.float64, generator=pool.rng).numpy() < keep
        kept = ~low
        kept[below[stays]] = True
        rows = np.flatnonzero(kept)
        weights = np.where(low[rows], np.float32(weight), np.float32(1))
        return Picked(torch.from_numpy(rows), torch.from_numpy(weights))


@checked
@dataclass(frozen=True)
class HideEasy(Picker):
    """Hides the samples with the smallest losses that were predicted correctly with high confidence.

    It hides at most 1 - keep of the samples, and only those whose last prediction was correct with a
    probability of at least `tau`. Reads the columns loss, correct, confidence.
    """

    keep: Keep = 0.7
    tau: Annotated[float | Schedule, Range(0, 1)] = 0.7
    counts: ClassVar[Counts] = "least"

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return m, self.keep == 1

    def pick(self, pool: Pool) -> Picked:
        candidates = pool.m - ranking.budget(pool.m, number(self.keep))
        if not candidates or not pool.values:
            return Picked()
        easiness = -pool.values["loss"].numpy()
        easiness[np.isnan(easiness)] = -np.inf
        lowest = ranking.top(torch.from_numpy(easiness), candidates).numpy()
        correct, confidence = pool.values["correct"].numpy(), pool.values["confidence"].numpy()
        sure = correct[lowest] & (confidence[lowest] >= number(self.tau)) & np.isfinite(easiness[lowest])
        hidden = lowest[sure]
        if not len(hidden):
            return Picked()
        visible = np.ones(pool.m, dtype=bool)
        visible[hidden] = False
        return Picked(torch.from_numpy(np.flatnonzero(visible)))


_STEPS = ((0.995, 16), (0.95, 8), (0.9, 4), (0.8, 2))


@dataclass(frozen=True)
class AdaptiveTopK(Picker):
    """Ordered SGD's rule: all rows, then 1/2, 1/4, 1/8, 1/16 as train accuracy passes 80, 90, 95, 99.5 %.

    Reads `best_accuracy` (tracker `BestAccuracy`) when an epoch begins, so the share never grows back.
    """

    by: str | None = None
    counts: ClassVar[Counts] = "halving"

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return m, False

    def settle(self, state: dict[str, Tensor]) -> Picker:
        best = float(state["best_accuracy"]) if "best_accuracy" in state else 0.0
        divisor = next((divisor for bound, divisor in _STEPS if best >= bound), 1)
        return TopK(1 / divisor, by=self.by)

    def pick(self, pool: Pool) -> Picked:
        raise TypeError(
            "AdaptiveTopK must be settled for an epoch before it picks. Call settle(state) first."
        )
