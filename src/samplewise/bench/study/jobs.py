"""`Job`: one training of a study, and the key under which its row is kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from samplewise.bench.methods import split
from samplewise.coresets.parse import parse
from samplewise.policy import REGISTRY

__all__ = ["FULL", "TRAINING", "TUNING_SEED", "Job", "canonical", "digest"]

FULL = "full"
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

    def key(self, task: str) -> str:
        """The name of its row. It depends on all that decides the result, and on nothing else.

        Args:
            task: the digest of the task.
        """
        return digest([task, canonical(self.method), self.epochs, self.seed, self.lr])


def digest(content: Any) -> str:
    """SHA-256 of a JSON document, 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=4096)
def canonical(method: str) -> list[Any]:
    """What decides the choices of a method: its name, its version, and parameters that are no defaults.

    The order in which parameters are written has no meaning.

    >>> canonical("ucb:period=5,keep=0.3") == canonical("ucb:keep=0.3,period=5,c=1.0")
    True
    """
    spec, settings = split(method)
    policy = parse(spec)
    given = {key: repr(value) for key, value in policy.params.items()}
    if policy.name in REGISTRY:
        known = REGISTRY[policy.name].signature.parameters
        given = {key: text for key, text in given.items() if text != repr(known[key].default)}
    return [policy.name, SELECTIONS.get(policy.name, 1), given, {k: repr(v) for k, v in settings.items()}]
