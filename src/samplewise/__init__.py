"""samplewise: data-efficient training by data selection. One loop runs every method."""

from samplewise import pickers, proxy, recipes, schedules, signals, trackers
from samplewise.classifier import classifier
from samplewise.keyids import KeyIds
from samplewise.layout import rows, shared
from samplewise.outputs import Batch, Outputs
from samplewise.policy import Policy, recipe
from samplewise.recorder import Recorder
from samplewise.saving import load, save
from samplewise.scores import ScoreTable, Subset
from samplewise.scoring import Scoring
from samplewise.selector import Selector

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "KeyIds",
    "Outputs",
    "Policy",
    "Recorder",
    "ScoreTable",
    "Scoring",
    "Selector",
    "Subset",
    "classifier",
    "load",
    "pickers",
    "proxy",
    "recipe",
    "recipes",
    "rows",
    "save",
    "schedules",
    "shared",
    "signals",
    "trackers",
]
