"""The judge: holds a method against ordinary training of the same cost, with intervals."""

from samplewise.bench.judge.ladder import Ladder, nearest_below, rungs
from samplewise.bench.judge.verdicts import Differences, Verdict, detectable, judge

__all__ = ["Differences", "Ladder", "Verdict", "detectable", "judge", "nearest_below", "rungs"]
