"""What each group of samples teaches alone: trainings on it beside trainings on as many random samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from samplewise.checks import require

stats = require("scipy.stats", "analysis")

__all__ = ["RANDOM", "Retrained", "compare_retraining"]

RANDOM = "-random"
"""The end of the name of a random subset: `never-random` has as many samples as `never`."""


@dataclass(frozen=True)
class Retrained:
    """The trainings on one group, and on as many samples drawn from all at random.

    Attributes:
        group: the name of the subset.
        samples: that each of them trained on, per epoch.
        accuracy: test accuracy in percent, the mean over the seeds.
        random: the same of the random subset.
        seeds: the seeds that both were trained with.
        difference: the mean over these seeds of `accuracy` minus `random`, in points.
        low: the lower end of its 95 % interval (paired t); None with one seed.
        high: the upper end.
    """

    group: str
    samples: float
    accuracy: float
    random: float
    seeds: int
    difference: float
    low: float | None
    high: float | None


def compare_retraining(rows: Sequence[Mapping[str, Any]]) -> list[Retrained]:
    """Compare the trainings on each subset with those on its random subset, seed by seed.

    A group that teaches no better than random samples is none that training must keep.

    Args:
        rows: of finished runs, as `RunFolder(path).results()` gives them, of one or several folders. The
            methods are the names of the subsets: `ucb-never` and `ucb-never-random`.

    Raises:
        ValueError: if a subset and seed come twice, a random subset has no partner, a pair has no common
            seed, or the two of a pair trained on different numbers of samples.
    """
    runs: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        seeds = runs.setdefault(row["method"], {})
        if row["seed"] in seeds:
            raise ValueError(
                f"{row['method']}, seed {row['seed']} comes twice. Leave out one of the run folders."
            )
        seeds[row["seed"]] = row
    groups = [name for name in runs if not name.endswith(RANDOM)]
    if alone := [name for name in (*groups, *runs) if _partner(name) not in runs]:
        raise ValueError(
            f"each subset must be trained beside its random subset, but {alone[0]!r} is without "
            f"{_partner(alone[0])!r}. `samplewise analyse groups` prints the commands of both."
        )
    if not groups:
        raise ValueError("compare_retraining needs rows of finished runs, got none.")
    return [_compared(group, runs[group], runs[group + RANDOM]) for group in groups]


def _partner(name: str) -> str:
    return name.removesuffix(RANDOM) if name.endswith(RANDOM) else name + RANDOM


def _compared(
    group: str, own: Mapping[int, Mapping[str, Any]], random: Mapping[int, Mapping[str, Any]]
) -> Retrained:
    seeds = sorted(own.keys() & random.keys())
    if not seeds:
        raise ValueError(f"{group} and {group}{RANDOM} have no seed in common. Train both with the same.")
    samples = {runs[seed]["samples_backpropagated"] for runs in (own, random) for seed in seeds}
    if len(samples) > 1:
        raise ValueError(
            f"{group} and {group}{RANDOM} must train on as many samples, got {min(samples):,} and "
            f"{max(samples):,}. Train both with the same options."
        )
    mine, its = ([runs[seed]["test_accuracy"] for seed in seeds] for runs in (own, random))
    differences = [a - b for a, b in zip(mine, its, strict=True)]
    mean, low, high = fmean(differences), None, None
    if len(seeds) > 1:
        half = float(stats.t.ppf(0.975, len(seeds) - 1)) * stdev(differences) / len(seeds) ** 0.5
        low, high = mean - half, mean + half
    per_epoch = samples.pop() / own[seeds[0]]["epochs"]
    return Retrained(group, per_epoch, fmean(mine), fmean(its), len(seeds), mean, low, high)
