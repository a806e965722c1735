"""Pickers: pure functions from scores to the samples that train, with their weights.

A picker sees a `Pool` of m candidates and returns a `Picked`. `keep` is always the share kept.
"""

from samplewise.pickers.base import Budgeted, PerClass, Picked, Picker, Pool
from samplewise.pickers.base import Keep as Keep
from samplewise.pickers.ranked import (
    AdaptiveTopK,
    BelowMean,
    EpsilonGreedy,
    HideEasy,
    TopK,
    Uniform,
    Weighted,
)

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
