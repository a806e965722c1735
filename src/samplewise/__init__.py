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
from samplewise.classification import classifier
from samplewise.combination import combine
from samplewise.coresets.recorder import Recorder
from samplewise.coresets.table import ScoreTable, Subset
from samplewise.data.keyids import KeyIds
from samplewise.data.layout import rows, shared
from samplewise.data.outputs import Batch, Outputs
from samplewise.files.checkpoints import load, save
from samplewise.files.versions import VERSION
from samplewise.loop.scoring import Scoring
from samplewise.policy import Policy, recipe
from samplewise.selector import Selector

__version__ = VERSION

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
    "combine",
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
