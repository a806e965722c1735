"""How far scores agree: rank correlations, and how many samples two choices share beside chance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from samplewise.checks import require
from samplewise.data.byid import by_id, numbers
from samplewise.pickers.ranking import budget

stats = require("scipy.stats", "analysis")

__all__ = ["KEEPS", "Agreement", "Scores", "score_agreement"]

KEEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Square = Float64[np.ndarray, "k k"]
Chosen = Callable[[float], Any]


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one method in one run.

    Attributes:
        group: the method: scores of one group are seeds of one method.
        ids: of the samples (n,), in any order.
        values: a score for each id (n,), high where the sample is kept. NaN: unknown.
        chosen: gives the ids that the method keeps for a share; None: those of the highest scores.
        run: says which run of the group, such as `seed 0`; None if there is one.
    """

    group: str
    ids: Any
    values: Any
    chosen: Chosen | None = None
    run: str | None = None

    @property
    def name(self) -> str:
        """The group, and the run if there are several."""
        return self.group if self.run is None else f"{self.group}, {self.run}"


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far k scores agree, over the samples that all of them know.

    Attributes:
        names: of the scores.
        groups: of the scores: equal for the seeds of one method.
        n: the number of samples that all scores know.
        spearman: the rank correlation of each pair (k, k). NaN if all values of a score are equal.
        keeps: the shares at which choices are compared.
        shared: at each share, the part of the chosen samples that both choose (keeps, k, k): common samples
            divided by the mean size of the two sets.
        jaccard: at each share, common samples divided by the samples that one of the two chooses.
        shared_by_chance: at each share, what random sets of the same sizes have in common (keeps, k, k).
        jaccard_by_chance: the Jaccard index of sets with that many samples in common.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    n: int
    spearman: Square
    keeps: tuple[float, ...]
    shared: Float64[np.ndarray, "keeps k k"]
    jaccard: Float64[np.ndarray, "keeps k k"]
    shared_by_chance: Float64[np.ndarray, "keeps k k"]
    jaccard_by_chance: Float64[np.ndarray, "keeps k k"]

    def mean(self, of: Float64[np.ndarray, "*keeps k k"], within: bool) -> Float64[np.ndarray, "*keeps"]:
        """The mean over pairs: seeds of one group (`within`), or different groups. NaN without a pair.

        Pairs without a number are left out: a score that is the same for all samples has no correlation.
        """
        same = np.equal.outer(np.array(self.groups), np.array(self.groups))
        pairs = np.triu(same if within else ~same, 1)
        values = of[..., pairs]
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):  # 0 / 0 without a pair
            return np.asarray(np.where(known, values, 0).sum(-1) / known.sum(-1))

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each pair and share."""
        for i, j in zip(*np.triu_indices(len(self.names), 1), strict=True):
            for at, keep in enumerate(self.keeps):
                yield {
                    "one": self.names[i],
                    "other": self.names[j],
                    "same_method": self.groups[i] == self.groups[j],
                    "spearman": float(self.spearman[i, j]),
                    "keep": keep,
                    "shared": float(self.shared[at, i, j]),
                    "shared_by_chance": float(self.shared_by_chance[at, i, j]),
                    "jaccard": float(self.jaccard[at, i, j]),
                    "jaccard_by_chance": float(self.jaccard_by_chance[at, i, j]),
                }


def score_agreement(scores: Sequence[Scores], keeps: Sequence[float] = KEEPS) -> Agreement:
    """Compare scores of methods, or of the seeds of one method, in pairs.

    Scores are joined by id. Samples that a score does not have, or for which it is NaN, are left out for all.
    A million samples and ten scores take a few seconds.

    Args:
        scores: at least two, with different names.
        keeps: the shares at which the chosen sets are compared.

    Raises:
        ValueError: with fewer than two scores, equal names, shares that are not in (0, 1], or fewer than two
            common samples.
    """
    names = tuple(one.name for one in scores)
    if len(names) < 2:
        raise ValueError(f"score_agreement needs at least two scores to compare, got {len(names)}.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"scores must have different names, but {twice[0]!r} comes twice. Rename one.")
    if wrong := [keep for keep in keeps if not 0 < keep <= 1]:
        raise ValueError(f"keeps must be shares in (0, 1], got {wrong[0]}.")
    ids, values = _joined(scores)
    ranks = np.stack([stats.rankdata(column) for column in values])
    with np.errstate(invalid="ignore", divide="ignore"):
        spearman = np.corrcoef(ranks)
    found = np.array([_overlaps(_chosen(scores, ids, values, keep)) for keep in keeps])
    sizes = np.stack([np.diagonal(counts) for counts in found])
    mean_size = (sizes[:, :, None] + sizes[:, None, :]) / 2
    by_chance = sizes[:, :, None] * sizes[:, None, :] / len(ids)
    return Agreement(
        names, tuple(one.group for one in scores), len(ids), spearman, tuple(keeps),
        found / mean_size, found / (2 * mean_size - found),
        by_chance / mean_size, by_chance / (2 * mean_size - by_chance),
    )  # fmt: skip


def _joined(scores: Sequence[Scores]) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, "k n"]]:
    """The common ids, ascending, and the values of each score."""
    columns = []
    for one in scores:
        ids, rows = by_id(f"the scores of {one.name}", one.ids, {"values": numbers(one.name, one.values)})
        values = rows["values"].cpu().double().numpy()
        known = ~np.isnan(values)
        columns.append((ids.numpy()[known], values[known]))
    common = columns[0][0]
    for ids, _ in columns[1:]:
        if not np.array_equal(common, ids):
            common = np.intersect1d(common, ids, assume_unique=True)
    if len(common) < 2:
        raise ValueError(
            f"the scores must know at least two samples in common, got {len(common)}. Are they of one "
            "data set?"
        )
    return common, np.stack([values[np.searchsorted(ids, common)] for ids, values in columns])


def _chosen(
    scores: Sequence[Scores], ids: Int64[np.ndarray, " n"], values: Float64[np.ndarray, "k n"], keep: float
) -> Bool[np.ndarray, "k n"]:
    """Whether each method keeps each of the common samples: as it says, or the highest scores."""
    mask = np.zeros(values.shape, dtype=bool)
    size = budget(len(ids), keep)
    for row, one in enumerate(scores):
        if one.chosen is not None:
            mask[row] = np.isin(ids, np.asarray(one.chosen(keep)))
        elif size == len(ids):
            mask[row] = True
        elif size:
            lowest = np.partition(values[row], len(ids) - size)[len(ids) - size]
            mask[row] = values[row] > lowest
            tied = np.flatnonzero(values[row] == lowest)  # equal scores by id, as the pickers do
            mask[row, tied[: size - int(mask[row].sum())]] = True
    return mask


def _overlaps(chosen: Bool[np.ndarray, "k n"]) -> Square:
    """The number of samples that each pair has in common; on the diagonal the sizes."""
    packed = np.packbits(chosen, axis=1)
    counts = np.zeros((len(chosen), len(chosen)))
    for i, one in enumerate(packed):
        both = np.bitwise_count(one & packed[i:]) if hasattr(np, "bitwise_count") else _BITS[one & packed[i:]]
        counts[i, i:] = counts[i:, i] = both.sum(1, dtype=np.int64)
    return counts


_BITS = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
"""The ones of each byte, for numpy before 2."""
