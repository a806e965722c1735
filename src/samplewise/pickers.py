"""Pickers: pure functions from scores to the samples that train, with their weights.

A picker sees a `Pool` of m candidates and returns a `Picked`. `keep` is always the share kept.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise import ranking
from samplewise.checks import Range, checked
from samplewise.schedules import Schedule, number

__all__ = [
    "AdaptiveTopK",
    "BelowMean",
    "Budgeted",
    "EpsilonGreedy",
    "HideEasy",
    "PerClass",
    "Picked",
    "Picker",
    "Pool",
    "TopK",
    "Uniform",
    "Weighted",
]

Keep = Annotated[float | Schedule, Range(0, 1, open_low=True)]
Rows = Int[Tensor, " k"]


class Pool(NamedTuple):
    """The candidates: m of them, what is remembered of each, and a private generator.

    `ids` order equal scores inside a batch (without them the position does); `least` rows are kept
    whatever the share; `labels` (m,) are there if the data set has them.
    """

    m: int
    rng: torch.Generator
    values: Mapping[str, Tensor] = MappingProxyType({})
    ranks: str | None = None
    ids: Tensor | None = None
    labels: Tensor | None = None
    least: int = 0

    def scores(self, by: str | None) -> Tensor:
        """The column `by`, or the one the tracker ranks by; NaN for all while nothing was observed."""
        name = by or self.ranks
        if not self.values:
            return torch.full((self.m,), float("nan"))
        if name is None or name not in self.values:
            raise ValueError(f"a picker ranks by {name!r}, but the memory holds {sorted(self.values)}")
        return self.values[name]


class Picked(NamedTuple):
    """Rows of the pool, ascending, and a weight for each; None stands for all, and for all 1."""

    rows: Rows | None = None
    weights: Float[Tensor, " k"] | None = None


class Picker(ABC):
    """A choice; subclass it as a frozen dataclass of parameters."""

    nonnegative: ClassVar[bool] = False
    """Whether the scores must be non-negative, so that a negative loss is refused when it is seen."""
    on_device: ClassVar[bool] = False
    """Whether it picks where the scores are, so that an accelerator need not wait for a batch's choice."""

    @abstractmethod
    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        """How many of m it keeps, and whether that is exact or an upper bound until the scores are known."""

    @abstractmethod
    def pick(self, pool: Pool) -> Picked:
        """Choose from the pool."""

    def settle(self, state: dict[str, Tensor]) -> "Picker":
        """The picker in force this epoch, given what is remembered when the epoch begins."""
        return self

    @property
    def everything(self) -> bool:
        """Whether it is certain to keep all, so that no score is needed."""
        return self.size(1 << 20) == (1 << 20, True)


class Budgeted(Picker):
    """A picker that keeps an exact share."""

    keep: float | Schedule

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return ranking.budget(m, number(self.keep), least), True

    def pick(self, pool: Pool) -> Picked:
        k, _ = self.size(pool.m, pool.least)
        return Picked() if k == pool.m else Picked(self.take(pool, k))

    @property
    def everything(self) -> bool:
        return self.keep == 1

    @abstractmethod
    def take(self, pool: Pool, k: int) -> Rows:
        """Exactly k rows, ascending."""


@checked
@dataclass(frozen=True)
class Uniform(Budgeted):
    """A fresh uniform draw without replacement."""

    keep: Keep
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
    """Drawn without replacement, one after the other, P ~ score among those left."""

    keep: Keep
    by: str | None = None
    nonnegative: ClassVar[bool] = True
    on_device: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        return ranking.race(pool.scores(self.by), k, pool.rng)


@checked
@dataclass(frozen=True)
class EpsilonGreedy(Budgeted):
    """The highest scores, with floor(eps * k) of the k drawn uniformly from all the others."""

    keep: Keep
    eps: Annotated[float | Schedule, Range(0, 1)] = 0.1
    by: str | None = None

    def take(self, pool: Pool, k: int) -> Rows:
        explored = math.floor(number(self.eps) * k + 1e-9)
        chosen = np.zeros(pool.m, dtype=bool)
        chosen[ranking.top(pool.scores(self.by), k - explored, pool.ids).numpy()] = True
        others = np.flatnonzero(~chosen)
        chosen[others[ranking.uniform(len(others), explored, pool.rng).numpy()]] = True
        return torch.from_numpy(np.flatnonzero(chosen))


@dataclass(frozen=True)
class PerClass(Picker):
    """Another picker inside each class, the budget divided by largest remainder: exact in total."""

    inner: Budgeted

    @property
    def nonnegative(self) -> bool:  # type: ignore[override]
        """As the inner picker."""
        return self.inner.nonnegative

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return self.inner.size(m, least)

    def pick(self, pool: Pool) -> Picked:
        if pool.labels is None:
            raise ValueError("PerClass needs labels: Selector(..., labels=tensor of n class numbers).")
        k, _ = self.size(pool.m, pool.least)
        if k == pool.m:
            return Picked()
        order = pool.labels.argsort(stable=True)
        sizes = pool.labels.bincount()
        quotas = ranking.largest_remainder(k, sizes)
        rows = []
        for members, quota in zip(torch.split(order, sizes.tolist()), quotas.tolist(), strict=True):
            inside = pool._replace(
                m=len(members),
                values={name: column[members] for name, column in pool.values.items()},
                ids=None if pool.ids is None else pool.ids[members],
                labels=None,
            )
            rows.append(members if quota == len(members) else members[self.inner.take(inside, quota)])
        return Picked(torch.cat(rows).sort().values)


@checked
@dataclass(frozen=True)
class BelowMean(Picker):
    """A random `keep` share of the samples below the mean, weighted by 1 / keep, and all the others.

    Unseen samples are outside the mean and are all kept. `exact=True` keeps int(keep * count) of
    the low ones, otherwise each is kept with probability `keep`. The mean is taken in float64: in
    float32 the mean of equal scores can round up and put everybody below it.
    """

    keep: Annotated[float | Schedule, Range(0.1, 1)] = 0.5
    exact: bool = True
    by: str | None = None

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
        # A numpy number: scores are compared with a Python one in float32.
        low = scores < np.float64(total / max(seen, 1))
        below = np.flatnonzero(low)
        if keep == 1 or not len(below):
            return Picked()
        if self.exact:
            stays = ranking.uniform(len(below), int(keep * len(below) + 1e-9), pool.rng).numpy()
        else:
            stays = torch.rand(len(below), dtype=torch.float64, generator=pool.rng).numpy() < keep
        kept = ~low
        kept[below[stays]] = True
        rows = np.flatnonzero(kept)
        weights = np.where(low[rows], np.float32(1 / keep), np.float32(1))
        return Picked(torch.from_numpy(rows), torch.from_numpy(weights))


@checked
@dataclass(frozen=True)
class HideEasy(Picker):
    """Hides the smallest losses, but moves back whatever is not both correct and confident.

    At most 1 - keep of the samples are hidden, and only those whose last prediction was right with
    a probability of at least `tau`. Reads the columns loss, correct, confidence.
    """

    keep: Keep = 0.7
    tau: Annotated[float | Schedule, Range(0, 1)] = 0.7

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

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return m, False

    def settle(self, state: dict[str, Tensor]) -> Picker:
        best = float(state["best_accuracy"]) if "best_accuracy" in state else 0.0
        divisor = next((divisor for bound, divisor in _STEPS if best >= bound), 1)
        return TopK(1 / divisor, by=self.by)

    def pick(self, pool: Pool) -> Picked:
        raise TypeError("AdaptiveTopK must be settled for an epoch before it picks")
