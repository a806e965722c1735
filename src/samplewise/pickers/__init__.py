"""Pickers: functions from scores to the samples that train, and their weights.

A picker gets a `Pool` of m candidates and returns a `Picked`. `keep` is always the share kept.
"""

from samplewise.pickers.accepting import Accepted
from samplewise.pickers.always import Always
from samplewise.pickers.base import Budgeted, PerClass, Picked, Picker, Pool
from samplewise.pickers.base import Keep as Keep
from samplewise.pickers.beta import BetaDrawn
from samplewise.pickers.coresets import MedianBlock, Strata
from samplewise.pickers.drawn import Boltzmann, RankDrawn
from samplewise.pickers.given import Given
from samplewise.pickers.groups import GroupWindow
from samplewise.pickers.least_used import LeastUsed
from samplewise.pickers.margins import ClassBalanced
from samplewise.pickers.messages import MessagePassing
from samplewise.pickers.nested import Nested
from samplewise.pickers.noise import NoiseBudget
from samplewise.pickers.ranked import (
    AdaptiveTopK,
    BelowMean,
    EpsilonGreedy,
    HideEasy,
    TopK,
    Uniform,
    Weighted,
)
from samplewise.pickers.repeated import WithReplacement
from samplewise.pickers.threshold import AtLeast
from samplewise.pickers.vectors import FacilityLocation, Herding, MatchingPursuit

__all__ = [
    "Accepted",
    "AdaptiveTopK",
    "Always",
    "AtLeast",
    "BelowMean",
    "BetaDrawn",
    "Boltzmann",
    "Budgeted",
    "ClassBalanced",
    "EpsilonGreedy",
    "FacilityLocation",
    "Given",
    "GroupWindow",
    "Herding",
    "HideEasy",
    "LeastUsed",
    "MatchingPursuit",
    "MedianBlock",
    "MessagePassing",
    "Nested",
    "NoiseBudget",
    "PerClass",
    "Picked",
    "Picker",
    "Pool",
    "RankDrawn",
    "Strata",
    "TopK",
    "Uniform",
    "Weighted",
    "WithReplacement",
]
