"""Pickers: pure functions from scores to the samples that train, with their weights.

A picker sees a `Pool` of m candidates and returns a `Picked`. `keep` is always the share kept.
"""

from samplewise.pickers.base import Budgeted, PerClass, Picked, Picker, Pool
from samplewise.pickers.base import Keep as Keep
from samplewise.pickers.coresets import MedianBlock, Strata
from samplewise.pickers.given import Given
from samplewise.pickers.ranked import (
    AdaptiveTopK,
    BelowMean,
    EpsilonGreedy,
    HideEasy,
    TopK,
    Uniform,
    Weighted,
)
from samplewise.pickers.vectors import FacilityLocation, Herding, MatchingPursuit

__all__ = [
    "AdaptiveTopK",
    "BelowMean",
    "Budgeted",
    "EpsilonGreedy",
    "FacilityLocation",
    "Given",
    "Herding",
    "HideEasy",
    "MatchingPursuit",
    "MedianBlock",
    "PerClass",
    "Picked",
    "Picker",
    "Pool",
    "Strata",
    "TopK",
    "Uniform",
    "Weighted",
]
