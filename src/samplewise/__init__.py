"""samplewise: data-efficient training by data selection. One loop runs every method."""

import os
import sys
from pathlib import Path

if (
    "samplewise" in (Path(word).stem for word in (*sys.argv[:1], *sys.orig_argv[2:3]))
    and "torch" not in sys.modules
):
    # This process is the command: `samplewise` or `python -m samplewise`. Torch reads this once, when it is
    # loaded: threads that wait then sleep and leave the cores to others. A program of the user sets its own.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

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
