"""Always, sometimes, never: how often a method selected each sample, split into three groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Int, Int64

from samplewise.analysis.mixture import Histogram, Mixture, fit_mixture
from samplewise.checks import Range, check_arguments
from samplewise.coresets.table import ScoreTable
from samplewise.rng import generator
from samplewise.subset import Subset

__all__ = [
    "GROUPS",
    "SelectionCounts",
    "SelectionGroups",
    "chance_histogram",
    "group_subsets",
    "selection_counts",
    "selection_groups",
]

Group = Literal["never", "sometimes", "always"]
GROUPS: tuple[Group, ...] = ("never", "sometimes", "always")
Shares = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SelectionCounts:
    """How often each sample was selected, over one or several runs.

    Attributes:
        ids: of the samples (n,), ascending.
        times: how many selections took each sample (n,).
        keeps: the share of the samples that each selection took. Their number is that of the checkpoints.
    """

    ids: Int64[np.ndarray, " n"]
    times: Int64[np.ndarray, " n"]
    keeps: tuple[float, ...]

    @property
    def checkpoints(self) -> int:
        """The number of selections: no sample can have been selected more often."""
        return len(self.keeps)

    @property
    def histogram(self) -> Int64[np.ndarray, " counts"]:
        """How many samples were selected 0, 1, ..., `checkpoints` times."""
        return np.bincount(self.times, minlength=self.checkpoints + 1).astype(np.int64)


def selection_counts(
    tables: Sequence[ScoreTable], checkpoints: Annotated[int | None, Range(1)] = None
) -> SelectionCounts:
    """Count the selections of each sample over the tables of one or several runs of a method.

    A table with a history says itself how many selections there were, and how many samples each took.
    Selections of all samples are left out: there was nothing to choose. Without a history the counts are
    `times_selected`, and every selection counts as one of equal size.

    Args:
        tables: of runs on the same data, such as those of several seeds.
        checkpoints: the selections of each run; only for tables without a history.

    Raises:
        ValueError: if the tables are of different samples or data, if the selections of a run are unknown,
            or if a sample was selected more often than `checkpoints`.
    """
    if not tables:
        raise ValueError("selection_counts needs at least one table.")
    check_arguments("selection_counts", selection_counts, {"checkpoints": checkpoints})
    first = tables[0]
    times = np.zeros(len(first), dtype=np.int64)
    keeps: list[float] = []
    for table in tables:
        _refuse_other_data(first, table)
        found, shares = _of_history(table) if table.history is not None else _of_times(table, checkpoints)
        times += found
        keeps += shares
    return SelectionCounts(first.ids.numpy(), times, tuple(keeps))


def _refuse_other_data(first: ScoreTable, table: ScoreTable) -> None:
    prints = {t.provenance.get("fingerprint") for t in (first, table)} - {None}
    if len(prints) > 1 or not np.array_equal(first.ids.numpy(), table.ids.numpy()):
        raise ValueError(
            "the tables must be of the same data, so that the selections of a sample can be added, but their "
            "ids or fingerprints differ. With label noise each seed has its own data: give the file of "
            "one seed, scores-METHOD-SEED.parquet."
        )


def _of_history(table: ScoreTable) -> tuple[Int64[np.ndarray, " n"], list[float]]:
    history, n = table.history, len(table)
    if history is None or not n:
        raise ValueError("the table has no history, or no samples.")
    times, shares = np.zeros(n, dtype=np.int64), []
    for selection in range(len(history)):
        mask = history.mask(selection).numpy()
        if (taken := int(mask.sum())) < n:
            times += mask
            shares.append(taken / n)
    if not shares:
        raise ValueError(
            f"each of the {len(history)} selections took all {n:,} samples: there is nothing to split. Take "
            "a method that leaves samples out (of a run folder: --method)."
        )
    return times, shares


def _of_times(table: ScoreTable, checkpoints: int | None) -> tuple[Int64[np.ndarray, " n"], list[float]]:
    times = table.times_selected.numpy().astype(np.int64)
    if checkpoints is None:
        raise ValueError(
            "the table has no history of selections, so the number of checkpoints is unknown. Train with "
            "--history (Selector(history=True)), or give checkpoints: the selections of each run."
        )
    if len(times) and times.max() > checkpoints:
        raise ValueError(
            f"checkpoints must be at least {times.max()}, the times that sample "
            f"{int(table.ids[int(times.argmax())])} was selected, got {checkpoints}."
        )
    return times, [float(times.mean()) / checkpoints] * checkpoints


def chance_histogram(keeps: Sequence[float]) -> Histogram:
    """The shares of samples with each count if every selection took its number of samples at random.

    The exact law of one sample's count: a sum of independent draws, one for each checkpoint, with the shares
    `keeps`. If these are equal it is binomial. Sums to 1.

    >>> chance_histogram([0.5, 0.5]).tolist()
    [0.25, 0.5, 0.25]
    """
    law = np.ones(1)
    for keep in keeps:
        if not 0 <= keep <= 1:
            raise ValueError(f"keeps must be shares in [0, 1], got {keep}.")
        law = np.convolve(law, (1 - keep, keep))
    return law


@dataclass(frozen=True, eq=False)
class SelectionGroups:
    """The three groups of one method, and what random selections of the same sizes would give.

    Attributes:
        counts: the counts that were split.
        mixture: the fit to them. Its `limits` split the counts, its `notes` say where the fit is doubtful.
        chance: the shares of counts under random selection, see `chance_histogram`.
        chance_mixture: the fit to `chance`: what the same procedure says where nothing was chosen.
    """

    counts: SelectionCounts
    mixture: Mixture
    chance: Histogram
    chance_mixture: Mixture

    @property
    def group(self) -> Int[np.ndarray, " n"]:
        """The group of each sample (n,): 0 never, 1 sometimes, 2 always."""
        return group_of(self.counts.times, self.mixture)

    @property
    def shares(self) -> Shares:
        """The share of the samples in each group, in the order never, sometimes, always."""
        return _shares(self.counts.histogram, self.mixture)

    @property
    def chance_shares(self) -> Shares:
        """The shares of random selection, by the limits of `mixture`."""
        return _shares(self.chance, self.mixture)

    @property
    def chance_own_shares(self) -> Shares:
        """The shares of random selection, by the limits of `chance_mixture`."""
        return _shares(self.chance, self.chance_mixture)

    def ids(self, group: Group) -> Int64[np.ndarray, " k"]:
        """The ids of the samples in a group."""
        mine: Int64[np.ndarray, " k"] = self.counts.ids[self.group == GROUPS.index(group)]
        return mine


def group_of(counts: Int64[np.ndarray, " n"], mixture: Mixture) -> Int[np.ndarray, " n"]:
    """0 for counts up to the lower limit, else 2 from the upper limit on, else 1."""
    never, always = mixture.limits
    return np.where(counts <= never, 0, np.where(counts >= always, 2, 1))


def _shares(histogram: Any, mixture: Mixture) -> Shares:
    weights = np.asarray(histogram, dtype=np.float64)
    group = group_of(np.arange(len(weights)), mixture)
    never, sometimes, always = (float(weights[group == i].sum() / weights.sum()) for i in range(3))
    return never, sometimes, always


def selection_groups(counts: SelectionCounts) -> SelectionGroups:
    """Split the samples into never, sometimes and always selected (arXiv:2111.12621).

    Three truncated normals are fitted to the counts. `never` goes up to the lowest mean plus its width,
    `always` begins at the highest mean minus its width. Random selection has such groups, too: compare
    `shares` with `chance_shares` and `chance_own_shares`.

    Raises:
        ValueError: with fewer than two checkpoints, or if all samples have the same count.
    """
    mixture = fit_mixture(counts.histogram)
    chance = chance_histogram(counts.keeps)
    return SelectionGroups(counts, mixture, chance, fit_mixture(chance))


def group_subsets(
    groups: SelectionGroups, fingerprint: str | None = None, seed: Annotated[int, Range(0)] = 0
) -> dict[str, Subset]:
    """The subsets of the retraining control: each group alone, and as many samples drawn from all at random.

    The names are `never`, `never-random`, `sometimes`, ...; a group without samples has none. Train on each
    from the start, and compare a group with its random subset: they have the same size.

    Args:
        groups: of a method.
        fingerprint: of the data, as in the provenance of a score table; the training checks it.
        seed: of the random subsets. The subset of each group is drawn on its own.
    """
    check_arguments("group_subsets", group_subsets, {"seed": seed})
    n = len(groups.counts.ids)
    found: dict[str, Subset] = {}
    for name in GROUPS:
        ids = groups.ids(name)
        if not len(ids):
            continue
        drawn = torch.randperm(n, generator=generator(seed, "random subset", name))[: len(ids)]
        said: dict[str, Any] = {"n": n, "keep": len(ids) / n, "fingerprint": fingerprint}
        note = {
            "group": name,
            "limits": list(groups.mixture.limits),
            "checkpoints": groups.counts.checkpoints,
        }
        found[name] = Subset(ids, None, said | note)
        found[f"{name}-random"] = Subset(groups.counts.ids[drawn.numpy()], None, said | {"draw_seed": seed})
    return found
