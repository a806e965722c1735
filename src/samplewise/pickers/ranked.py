"""Pickers over one number a sample: draws, the highest, and the rules of the dynamic methods."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.data.bits import Bits
from samplewise.pickers import pieces, ranking
from samplewise.pickers.base import Budgeted, Counts, Keep, Marked, Picked, Picker, Pool, Rows
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

    def sift(self, pool: Pool, k: int) -> Bits:
        return pieces.uniform(Bits(pool.m), k, pool.rng)

    def reason(self, pool: Pool, row: int, k: int) -> str:
        return f"{k:,} of {pool.m:,} samples are drawn at random, with equal chances. No score decides."


@checked
@dataclass(frozen=True)
class TopK(Budgeted):
    """The `keep` share with the highest scores; equal scores in the order of the samples."""

    keep: Keep
    by: str | None = None
    on_device: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        return ranking.top(pool.scores(self.by), k, pool.ids)

    def sift(self, pool: Pool, k: int) -> Bits:
        return pieces.top(pool.m, pool.column(self.by), k)

    def reason(self, pool: Pool, row: int, k: int) -> str:
        scores = pool.scores(self.by)
        lowest = float(scores[self.take(pool, k)].min()) if k else float("inf")
        tie = " Of equal scores the lower id comes first." if float(scores[row]) == lowest else ""
        return f"The {k:,} highest scores are kept: from {lowest:.6g} on.{tie}"


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

    def sift(self, pool: Pool, k: int) -> Bits:
        return pieces.race(pool.m, pool.column(self.by), k, pool.rng)


@checked
@dataclass(frozen=True)
class EpsilonGreedy(Budgeted):
    """The highest scores, with floor(eps * k) of the k drawn uniformly from all the others."""

    keep: Keep
    eps: Annotated[float | Schedule, Range(0, 1)] = 0.1
    by: str | None = None
    random: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        explored = self._explored(k)
        chosen = np.zeros(pool.m, dtype=bool)
        chosen[ranking.top(pool.scores(self.by), k - explored, pool.ids).numpy()] = True
        others = np.flatnonzero(~chosen)
        chosen[others[ranking.uniform(len(others), explored, pool.rng).numpy()]] = True
        return torch.from_numpy(np.flatnonzero(chosen))

    def sift(self, pool: Pool, k: int) -> Bits:
        highest = pieces.top(pool.m, pool.column(self.by), k - self._explored(k))
        return highest | pieces.uniform(Bits(pool.m).without(highest), self._explored(k), pool.rng)

    def _explored(self, k: int) -> int:
        return math.floor(number(self.eps) * k + 1e-9)


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
            kept_low = self._kept(len(below))
            stays, weight = ranking.uniform(len(below), kept_low, pool.rng).numpy(), len(below) / kept_low
        else:
            weight = 1 / keep
            stays = torch.rand(len(below), dtype=torch.float64, generator=pool.rng).numpy() < keep
        kept = ~low
        kept[below[stays]] = True
        rows = np.flatnonzero(kept)
        weights = np.where(low[rows], np.float32(weight), np.float32(1))
        return Picked(torch.from_numpy(rows), torch.from_numpy(weights))

    def mark(self, pool: Pool) -> Marked:
        keep, seen, total = number(self.keep), 0, 0.0
        column = pool.column(self.by)
        for part in column():
            scores: Any = part.numpy()
            sum_of_part = scores.sum(dtype=np.float64)
            if np.isnan(sum_of_part):
                known = ~np.isnan(scores)
                seen += int(np.count_nonzero(known))
                sum_of_part = scores.sum(dtype=np.float64, where=known)
            else:
                seen += len(scores)
            total += float(sum_of_part)
        mean = np.float64(total / max(seen, 1))
        low = pieces.where(pool.m, column, lambda scores: scores < mean)
        if keep == 1 or not len(low):
            return Marked(Bits(pool.m))
        if self.exact:
            kept_low = self._kept(len(low))
            stays, weight = pieces.uniform(low, kept_low, pool.rng), len(low) / kept_low
        else:
            stays, weight = pieces.independent(low, keep, pool.rng), 1 / keep
        return Marked(Bits(pool.m).without(low) | stays, stays, weight)

    def _kept(self, below: int) -> int:
        """How many of the samples below the mean are kept, if the number is exact."""
        return max(1, int(number(self.keep) * below + 1e-9))


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

    def mark(self, pool: Pool) -> Marked:
        candidates = pool.m - ranking.budget(pool.m, number(self.keep))
        everything = Bits(pool.m)
        if not candidates:
            return Marked(everything)

        def easiness() -> Iterator[Tensor]:
            for loss in pool.column("loss")():
                yield torch.where(loss.isnan(), -torch.inf, -loss)

        lowest, hidden = pieces.top(pool.m, easiness, candidates), Bits.empty(pool.m)
        for (start, low), part in zip(lowest.parts(), pool.pieces(), strict=True):
            if not part.values:
                return Marked(everything)
            sure = part.values["correct"] & (part.values["confidence"] >= number(self.tau))
            low &= (sure & part.values["loss"].isfinite()).numpy()
            hidden.put(start, low)
        return Marked(everything.without(hidden))


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
