"""Pickers of static coresets: a block in the middle of a distance, and equal shares of score strata."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from samplewise.checks import Range, Share, checked
from samplewise.pickers import ranking
from samplewise.pickers.base import Budgeted, Pool, Rows

__all__ = ["MedianBlock", "Strata", "ccs_allocate", "ccs_beta", "ccs_bins", "finite"]


@checked
@dataclass(frozen=True)
class MedianBlock(Budgeted):
    """The block of samples in the middle of column `distance`, equal distances in the order of the samples.

    Of the ascending ranks it keeps floor(m (1 - keep) / 2 + 0.5) .. floor(m (1 + keep) / 2 + 0.5) - 1,
    shortened or lengthened at the far end to exactly the budget. Its score column `rank` is minus the
    distance of a sample's rank from the block's centre, in ranks; of two equally far the nearer one to
    its class comes first, by a quarter. (Beyond 4 million samples float32 loses that quarter at the ends.)
    """

    keep: Share
    ranks: ClassVar[str | None] = "rank"
    makes: ClassVar[tuple[str, ...]] = ("rank",)

    def columns(self, pool: Pool) -> dict[str, Tensor]:
        distances = pool.scores("distance")
        k, _ = self.size(pool.m)
        centre = self._start(pool.m, k) + (k - 1) / 2
        ranks = np.empty(pool.m)
        ranks[np.argsort(distances.numpy(), kind="stable")] = np.arange(pool.m)
        scores = -np.abs(ranks - centre) - 0.25 * (ranks > centre)
        scores[distances.isnan().numpy()] = np.nan
        return {"rank": torch.from_numpy(scores.astype(np.float32))}

    def take(self, pool: Pool, k: int) -> Rows:
        nearness = -pool.scores("distance")
        start = self._start(pool.m, k)
        inside = np.zeros(pool.m, dtype=bool)
        inside[ranking.top(nearness, start + k, pool.ids).numpy()] = True
        inside[ranking.top(nearness, start, pool.ids).numpy()] = False
        return torch.from_numpy(np.flatnonzero(inside))

    def reason(self, pool: Pool, row: int, k: int) -> str:
        distances, start = pool.scores("distance"), self._start(pool.m, k)
        own = distances[row]
        rank = 1 + int((distances < own).sum() + (distances[:row] == own).sum())
        return (
            f"Its distance to the centre of its class is {float(own):.6g}, rank {rank:,} of {pool.m:,} from "
            f"the nearest. Ranks {start + 1:,} to {start + k:,} are kept: the middle."
        )

    def _start(self, m: int, k: int) -> int:
        """The first rank kept, so that k of m can follow; the share of a class may differ from `keep`."""
        return min(m - k, math.floor(m * (1 - self.keep) / 2 + 0.5 + 1e-9))


_PUBLISHED = ((0.3, 0.0), (0.5, 0.0), (0.7, 0.1), (0.8, 0.1), (0.9, 0.3))


def ccs_beta(keep: float) -> float:
    """The cut-off published for CIFAR-10, at the nearest dropped share (the smaller of two equally near).

    >>> ccs_beta(0.5), ccs_beta(0.3), ccs_beta(0.15), ccs_beta(0.1)
    (0.0, 0.1, 0.1, 0.3)
    """
    return min(_PUBLISHED, key=lambda row: (round(abs(1 - keep - row[0]), 9), row[0]))[1]


def ccs_bins(scores: Float[Tensor, " m"], strata: int) -> Int[Tensor, " m"]:
    """The stratum of each finite score: equal widths from the least to the greatest, the last one closed.

    Equal scores are one stratum.

    >>> ccs_bins(torch.tensor([0.0, 0.9, 1.0, 2.0]), 2)
    tensor([0, 0, 1, 1])
    """
    return torch.from_numpy(_bins(scores.double().numpy(), strata).astype(np.int64))


def _bins(scores: Float[np.ndarray, " m"], strata: int) -> Integer[np.ndarray, " m"]:
    kind = np.uint8 if strata <= 256 else np.uint16 if strata <= 65536 else np.int64
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 0.0)
    if low == high:
        return np.zeros(len(scores), dtype=kind)
    found = (scores - low) * strata
    found /= high - low
    np.minimum(found, strata - 1, out=found)
    return found.astype(kind)  # small whole numbers, which numpy sorts by radix


def ccs_allocate(counts: Int[Tensor, " s"], budget: int) -> Int[Tensor, " s"]:
    """Divide a budget equally among strata, the smallest first. The others share what one cannot use.

    >>> ccs_allocate(torch.tensor([10, 0, 2, 9]), 12)
    tensor([5, 0, 2, 5])
    """
    sizes = counts.tolist()
    budgets, left = [0] * len(sizes), budget
    for visited, stratum in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        budgets[stratum] = min(sizes[stratum], left // (len(sizes) - visited))
        left -= budgets[stratum]
    return torch.tensor(budgets, dtype=torch.int64)


@checked
@dataclass(frozen=True)
class Strata(Budgeted):
    """Drop the int(beta m) highest scores, then draw equally from `strata` equal-width bins of the rest.

    `beta=None` is the published cut-off for this `keep` (`ccs_beta`). An infinite score counts as the
    greatest finite one plus 1.

    Raises:
        ValueError: by `pick`, if the cut-off leaves fewer than are to be kept.
    """

    keep: Share
    beta: Annotated[float | None, Range(0, 1, open_high=True)] = None
    strata: Annotated[int, Range(1, 65_536)] = 50
    by: str | None = None
    random: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        rows, bins, counts = self._divided(pool, k)
        order = np.argsort(bins, kind="stable")
        chosen = np.zeros(pool.m, dtype=bool)
        ends = counts.cumsum(0).tolist()
        quotas = ccs_allocate(counts, k).tolist()
        for start, end, quota in zip([0, *ends], ends, quotas, strict=False):
            if quota:
                members = rows[order[start:end]]
                chosen[members[ranking.uniform(len(members), quota, pool.rng).numpy()]] = True
        return torch.from_numpy(np.flatnonzero(chosen))

    def _divided(self, pool: Pool, k: int) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """The rows below the cut-off, the stratum of each, and the number of rows of every stratum."""
        scores = pool.scores(self.by)
        left = finite(scores).numpy()
        rows = np.arange(pool.m)
        if cut := self._cut(pool.m, k):
            rest = np.ones(pool.m, dtype=bool)
            rest[ranking.top(scores, cut, pool.ids).numpy()] = False
            rows, left = rows[rest], left[rest]
        bins = _bins(left, self.strata)
        return rows, bins, torch.from_numpy(np.bincount(bins, minlength=self.strata))

    def reason(self, pool: Pool, row: int, k: int) -> str:
        rows, bins, counts = self._divided(pool, k)
        cut = pool.m - len(rows)
        dropped = f"The {cut:,} highest scores, the hardest samples, are dropped."
        place = int(np.searchsorted(rows, row))
        if place == len(rows) or rows[place] != row:
            return f"{dropped} This is one of them."
        stratum = int(bins[place])
        quota, size = int(ccs_allocate(counts, k)[stratum]), int(counts[stratum])
        drawn = "all are kept" if quota == size else f"{quota:,} are drawn at random"
        first = f"{dropped} " if cut else ""
        return (
            f"{first}Its score is in stratum {stratum + 1} of {self.strata} of equal width: of {size:,} "
            f"samples there {drawn}."
        )

    def refuse(self, m: int) -> None:
        k, _ = self.size(m)
        if k < m:
            self._cut(m, k)

    def _cut(self, m: int, k: int) -> int:
        beta = ccs_beta(self.keep) if self.beta is None else self.beta
        cut = int(beta * m + 1e-9)
        if k > m - cut:
            most = math.floor((m - k) / m * 1e4) / 1e4
            raise ValueError(
                f"beta={beta:g} drops the {cut} hardest of {m} samples and leaves {m - cut}, but {k} must be "
                f"kept. Give a beta of at most {most:g}, or keep fewer."
            )
        return cut


def finite(scores: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """In float64, infinite scores as the greatest finite one plus 1."""
    scores = scores.double()
    if float(scores.max()) < math.inf:
        return scores
    infinite = scores == math.inf
    known = scores[~infinite]
    return scores.masked_fill(infinite, float(known.max()) + 1 if len(known) else 0.0)
