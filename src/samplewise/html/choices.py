"""Always, sometimes, never selected, as numbers: from the history of a run, or from its counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from samplewise.analysis.groups import GROUPS, selection_counts, selection_groups
from samplewise.coresets.table import ScoreTable

__all__ = ["Choices", "choices"]

BINS = 60
FEWEST = 2
"""Selections of a fit."""


@dataclass(frozen=True)
class Choices:
    """How often samples were selected.

    Attributes:
        shares: of the samples that were never, sometimes and always selected.
        chance: the same for random selections of the same sizes; empty: not known.
        bins: (from, to, samples, samples by chance or None) for ranges of counts.
        said: how the groups were made, in a sentence.
    """

    shares: Mapping[str, float]
    chance: Mapping[str, float]
    bins: Sequence[tuple[float, float, int, float | None]]
    said: str


def choices(table: ScoreTable) -> Choices:
    """Split the samples of a table."""
    times = table.times_selected.numpy().astype(np.int64)
    if table.history is None:
        return _by_counts(times, "The run kept no history of its selections, so these are plain counts.")
    if len(table.history) < FEWEST:
        return _by_counts(times, "There was one selection, so groups cannot be fitted.")
    try:
        found = selection_groups(selection_counts([table]))
    except ValueError as error:
        return _by_counts(times, f"No groups can be fitted: {str(error).rstrip('.')}.")
    never, always = found.mixture.limits
    most = found.counts.checkpoints
    return Choices(
        dict(zip(GROUPS, found.shares, strict=True)),
        dict(zip(GROUPS, found.chance_shares, strict=True)),
        _bins(found.counts.times, most, np.asarray(found.chance) * len(times)),
        f"A fit to the counts of {most} selections: never is at most {floor(never)}, always at least "
        f"{ceil(always)}. Random selections of the same sizes have such groups, too: only a difference to "
        "them is a choice.",
    )


def _by_counts(times: np.ndarray, why: str) -> Choices:
    most = int(times.max()) if len(times) else 0
    never, always = float((times == 0).mean()), float((times == most).mean()) if most else 0.0
    shares = {"never": never, "sometimes": max(0.0, 1 - never - always), "always": always}
    said = f"{why} Never: 0 times. Always: {most}, the most of any sample."
    return Choices(shares, {}, _bins(times, most, None), said)


def _bins(
    times: np.ndarray, most: int, chance: np.ndarray | None
) -> list[tuple[float, float, int, float | None]]:
    counts = np.bincount(times, minlength=most + 1)
    width = -(-len(counts) // BINS)
    found = []
    for start in range(0, len(counts), width):
        end = min(start + width, len(counts))
        expected = None if chance is None else float(chance[start:end].sum())
        found.append((start - 0.5, end - 0.5, int(counts[start:end].sum()), expected))
    return found
