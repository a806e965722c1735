"""samplewise: data-efficient training by data selection. One loop runs every method."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplewise import pickers as pickers
    from samplewise import proxy as proxy
    from samplewise import recipes as recipes
    from samplewise import schedules as schedules
    from samplewise import signals as signals
    from samplewise import trackers as trackers
    from samplewise.classifier import classifier as classifier
    from samplewise.keyids import KeyIds as KeyIds
    from samplewise.layout import rows as rows
    from samplewise.layout import shared as shared
    from samplewise.outputs import Batch as Batch
    from samplewise.outputs import Outputs as Outputs
    from samplewise.policy import Policy as Policy
    from samplewise.policy import recipe as recipe
    from samplewise.recorder import Recorder as Recorder
    from samplewise.saving import load as load
    from samplewise.saving import save as save
    from samplewise.scores import ScoreTable as ScoreTable
    from samplewise.scores import Subset as Subset
    from samplewise.scoring import Scoring as Scoring
    from samplewise.selector import Selector as Selector

__version__ = "0.1.0"

# Loaded on first use: the command sets how torch's threads wait before torch is imported.
_WHERE = {
    "Batch": "samplewise.outputs",
    "KeyIds": "samplewise.keyids",
    "Outputs": "samplewise.outputs",
    "Policy": "samplewise.policy",
    "Recorder": "samplewise.recorder",
    "ScoreTable": "samplewise.scores",
    "Scoring": "samplewise.scoring",
    "Selector": "samplewise.selector",
    "Subset": "samplewise.scores",
    "classifier": "samplewise.classifier",
    "load": "samplewise.saving",
    "pickers": "samplewise.pickers",
    "proxy": "samplewise.proxy",
    "recipe": "samplewise.policy",
    "recipes": "samplewise.recipes",
    "rows": "samplewise.layout",
    "save": "samplewise.saving",
    "schedules": "samplewise.schedules",
    "shared": "samplewise.layout",
    "signals": "samplewise.signals",
    "trackers": "samplewise.trackers",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'samplewise' has no attribute {name!r}")
    module = importlib.import_module(_WHERE[name])
    if not hasattr(module, name):  # the module itself is public
        return module
    importlib.import_module("samplewise.recipes")  # registered before any recipe of the user
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`samplewise.classifier` is the function, also once the module of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        function = name == "classifier" and isinstance(value, ModuleType)
        super().__setattr__(name, value.classifier if function else value)


sys.modules[__name__].__class__ = _Package
