"""`Job`: one training of a study, and the key under which its row is kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from samplewise.bench.methods import split
from samplewise.coresets.from_file import file_of, load, recipe_from
from samplewise.coresets.parse import divide, get, parse

__all__ = ["FULL", "STOPPED", "TRAINING", "TUNING_SEED", "Job", "canonical", "digest"]

FULL = "full"
STOPPED = "full, stopped early"
"""The control that stops full training at its best epoch on the validation split."""
TUNING_SEED = 1000
"""The first seed of tuning. Judged seeds are 0, 1, ... and never meet it."""
TRAINING = 1
"""Version of the training of the command. Raise it when the same settings give other results than before."""
SELECTIONS: Mapping[str, int] = {}
"""Version of the choices of a recipe. Raise its number when it is listed under Changed selections."""


@dataclass(frozen=True)
class Job:
    """One training: a method, its length, a seed, and a factor on the study's learning rate."""

    method: str
    epochs: int
    seed: int
    lr: float = 1.0

    @property
    def named(self) -> str:
        """The run in words."""
        tuned = f", lr x{self.lr:g}" if self.lr != 1 else ""
        return f"{self.method}, {self.epochs} epoch{'s' * (self.epochs > 1)}, seed {self.seed}{tuned}"

    def key(self, task: str) -> str:
        """The name of its row. It depends on all that decides the result, and on nothing else.

        Args:
            task: the digest of the task.
        """
        return _key(self, task)


@lru_cache(maxsize=2**16)
def _key(job: Job, task: str) -> str:
    return digest([task, canonical(job.method), job.epochs, job.seed, job.lr])


def digest(content: Any) -> str:
    """SHA-256 of a JSON document, 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def canonical(method: str) -> list[Any]:
    """What decides the choices of a method: its name, its version, and parameters that are no defaults.

    The order in which parameters are written has no meaning. The version of a method in a file is the digest
    of its source, and a parameter that names a file counts by the content of that file: where files lie has
    no meaning either.

    >>> canonical("ucb:period=5,keep=0.3") == canonical("ucb:keep=0.3,period=5,c=1.0")
    True
    """
    spec, settings = split(method)
    name, given = divide(spec)
    file = file_of(name)
    version: int | str = SELECTIONS.get(name, 1)
    if file is None:
        made = get(name)
    else:
        name, made, version = file[1], recipe_from(*file[:2]), load(file[0])[1]
    known = made.signature.parameters
    params = getattr(parse(spec), "params", given)
    texts = {
        key: (_text(value, known[key].default), repr(known[key].default)) for key, value in params.items()
    }
    decisive = {key: text for key, (text, default) in texts.items() if text != default}
    return [name, version, decisive, {key: repr(value) for key, value in settings.items()}]


def _text(value: Any, default: Any) -> str:
    """A parameter as text; of a file, its content."""
    if isinstance(default, float) and type(value) is int:
        return repr(float(value))
    if isinstance(value, str | Path) and Path(value).suffix and Path(value).is_file():
        return f"file {hashlib.sha256(Path(value).read_bytes()).hexdigest()}"
    return repr(value)
