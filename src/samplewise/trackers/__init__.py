"""Trackers: what is remembered of each sample from visit to visit.

A tracker writes only into the state it is handed, a dict of columns of length n, and emits `(ids,
values)` for the next one: `a | b` feeds what a emits to b. NaN in a column means never observed.
"""

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
from samplewise.trackers.depth import DualDepth
from samplewise.trackers.dynamics import Forgotten, Mean, WindowSpread
from samplewise.trackers.features import ClassDistance

__all__ = [
    "BestAccuracy",
    "ClassDistance",
    "Count",
    "DecoupledEma",
    "DualDepth",
    "Ema",
    "EmaMoments",
    "Forgotten",
    "Last",
    "Mean",
    "Pipe",
    "State",
    "Tracker",
    "UpperBound",
    "Values",
    "WindowSpread",
]
