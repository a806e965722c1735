"""A study file from the settings of `samplewise train`."""

import json
from typing import Any

import torch

from samplewise.bench.settings import Settings
from samplewise.bench.study.images import TASK_SETTINGS
from samplewise.bench.study.jobs import FULL

__all__ = ["study_file"]


def study_file(settings: Settings, given: dict[str, Any]) -> str:
    """The text of a study with these methods, seeds and settings.

    Args:
        settings: of the command.
        given: what the user wrote. Everything else keeps its default.

    Raises:
        ValueError: if a setting of the command has no meaning in a study.
    """
    if settings.subset is not None:
        raise ValueError(
            "--controls needs methods that choose by themselves, got --subset. Leave out one of them."
        )
    methods = [method for method in settings.method if method != FULL]
    task: dict[str, Any] = {name: given[name] for name in TASK_SETTINGS if name in given}
    threads = settings.threads or torch.get_num_threads()
    task |= {"data": settings.data, "epochs": settings.epochs, "threads": threads}
    lines = [f"methods = {json.dumps(methods)}", f"seeds = {settings.seeds}", "", "[task]"]
    # The JSON of a text, a number, a truth value or a list of them is TOML, too.
    lines += [f"{name} = {json.dumps(value)}" for name, value in task.items()]
    return "\n".join(lines) + "\n"
