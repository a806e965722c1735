"""samplewise: data-efficient training by data selection. One loop runs every method."""

from samplewise import pickers, recipes, schedules, signals, trackers
from samplewise.classifier import classifier
from samplewise.outputs import Batch, Outputs
from samplewise.policy import Policy, recipe
from samplewise.recorder import Recorder
from samplewise.scores import ScoreTable, Subset
from samplewise.scoring import Scoring
from samplewise.selector import Selector

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Outputs",
    "Policy",
    "Recorder",
    "ScoreTable",
    "Scoring",
    "Selector",
    "Subset",
    "classifier",
    "pickers",
    "recipe",
    "recipes",
    "schedules",
    "signals",
    "trackers",
]
