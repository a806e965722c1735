"""The judge: holds a method against ordinary training of the same cost, or another one, with intervals."""

from samplewise.bench.judge.claims import Answer, answers
from samplewise.bench.judge.ladder import Ladder, nearest_below, rungs
from samplewise.bench.judge.verdicts import Differences, Verdict, detectable, judge

__all__ = [
    "Answer",
    "Differences",
    "Ladder",
    "Verdict",
    "answers",
    "detectable",
    "judge",
    "nearest_below",
    "rungs",
]
