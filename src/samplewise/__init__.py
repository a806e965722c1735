"""samplewise: data-efficient training by data selection. One loop runs every method."""

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplewise.files.versions import VERSION

_COMMAND = "samplewise" in (Path(word).stem for word in (*sys.argv[:1], *sys.orig_argv[2:3]))
"""Whether this process is the command: `samplewise` or `python -m samplewise`."""
if _COMMAND and "torch" not in sys.modules:
    # Torch reads this once, when it is loaded: threads that wait then sleep and leave the cores to others. A
    # program of the user sets its own.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from samplewise import packed, pickers, proxy, recipes, schedules, signals, tokens, trackers, views
    from samplewise.advice.advising import advise
    from samplewise.classification import classifier
    from samplewise.combination import combine
    from samplewise.coresets.recorder import Recorder
    from samplewise.coresets.table import ScoreTable, Subset
    from samplewise.data.keyids import KeyIds
    from samplewise.data.layout import rows, shared
    from samplewise.data.outputs import Batch, Outputs
    from samplewise.files.checkpoints import load, save
    from samplewise.groups import Groups
    from samplewise.loop.gate import Gate
    from samplewise.loop.reference_losses import reference_losses
    from samplewise.loop.scorers import Scorer
    from samplewise.loop.scoring import Scoring
    from samplewise.loop.target import Target
    from samplewise.policy import Policy, recipe
    from samplewise.prompts import PromptSelector
    from samplewise.selector import Selector
    from samplewise.tokens import language_model, token_outputs

__version__ = VERSION

__all__ = [
    "Batch",
    "Gate",
    "Groups",
    "KeyIds",
    "Outputs",
    "Policy",
    "PromptSelector",
    "Recorder",
    "ScoreTable",
    "Scorer",
    "Scoring",
    "Selector",
    "Subset",
    "Target",
    "advise",
    "classifier",
    "combine",
    "language_model",
    "load",
    "packed",
    "pickers",
    "proxy",
    "recipe",
    "recipes",
    "reference_losses",
    "rows",
    "save",
    "schedules",
    "shared",
    "signals",
    "token_outputs",
    "tokens",
    "trackers",
    "views",
]

_HOMES = {
    "Batch": "data.outputs",
    "Gate": "loop.gate",
    "Groups": "groups",
    "KeyIds": "data.keyids",
    "Outputs": "data.outputs",
    "Policy": "policy",
    "PromptSelector": "prompts",
    "Recorder": "coresets.recorder",
    "ScoreTable": "coresets.table",
    "Scorer": "loop.scorers",
    "Scoring": "loop.scoring",
    "Selector": "selector",
    "Subset": "coresets.table",
    "Target": "loop.target",
    "advise": "advice.advising",
    "classifier": "classification",
    "combine": "combination",
    "language_model": "tokens",
    "load": "files.checkpoints",
    "recipe": "policy",
    "reference_losses": "loop.reference_losses",
    "rows": "data.layout",
    "save": "files.checkpoints",
    "shared": "data.layout",
    "token_outputs": "tokens",
}
"""The module of each name that is not a module itself."""
_LATER = {"PromptSelector", "advise"}
"""Names that few programs use: they are loaded when they are first used."""


def __getattr__(name: str) -> Any:
    """Load a name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name)
    if home is None:
        return importlib.import_module(f"{__name__}.{name}")
    found = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not _COMMAND:  # torch takes seconds, and `samplewise --help` needs none of it
    for _name in sorted({*__all__} - _LATER):
        __getattr__(_name)
