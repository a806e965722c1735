"""Trackers: the memory of each sample from visit to visit.

A tracker writes only into the state that each call gives it, a dict of columns of length n. It returns
`(ids, values)` for the next tracker: `a | b` feeds b what a returns. NaN in a column means never observed.
"""

from samplewise.trackers.alignment import Alignment
from samplewise.trackers.averages import (
    BestAccuracy,
    Count,
    DecoupledEma,
    Ema,
    EmaMoments,
    Last,
    UpperBound,
)
from samplewise.trackers.averages import Rate as Rate
from samplewise.trackers.base import Pipe, State, Tracker, Values
from samplewise.trackers.columns import Column
from samplewise.trackers.curvature import SecondDifference
from samplewise.trackers.depth import DualDepth
from samplewise.trackers.difficulty import DifficultySpread
from samplewise.trackers.dynamics import Forgotten, Mean, WindowSpread
from samplewise.trackers.features import ClassDistance, Features
from samplewise.trackers.margins import Margins
from samplewise.trackers.novelty import Novelty
from samplewise.trackers.recent import Percentile
from samplewise.trackers.reducible import IrreducibleLosses, Reducible
from samplewise.trackers.smoothing import Smoothed

__all__ = [
    "Alignment",
    "BestAccuracy",
    "ClassDistance",
    "Column",
    "Count",
    "DecoupledEma",
    "DifficultySpread",
    "DualDepth",
    "Ema",
    "EmaMoments",
    "Features",
    "Forgotten",
    "IrreducibleLosses",
    "Last",
    "Margins",
    "Mean",
    "Novelty",
    "Percentile",
    "Pipe",
    "Reducible",
    "SecondDifference",
    "Smoothed",
    "State",
    "Tracker",
    "UpperBound",
    "Values",
    "WindowSpread",
]
