"""`--scoring`: how a run computes its scores, as a text such as `bf16+half`. What `--gate` is for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from samplewise import views
from samplewise.bench.models import builder
from samplewise.checks import nearest
from samplewise.loop.scoring import Scoring
from samplewise.policy import Policy

__all__ = ["gated", "named", "scoring_for", "scoring_of"]

_FORMS = {
    "bf16": "bf16: autocast to bfloat16",
    "every": "every=K: the scoring forward runs in every k-th epoch",
    "half": "half: images at half resolution",
    "first": "first=K: the first k tokens of a text",
    "at": "at=NAME: a head at this module of the model",
    "scorer": "scorer=MODEL: another, small model",
}


def named(model: str) -> nn.Module:
    """A stand-in for the model of that name, for a text that is only checked.

    Raises:
        ValueError: if there is no such model.
    """
    builder(model)
    return nn.Identity()


def scoring_of(text: str | None, build: Callable[[str], nn.Module] = named) -> Scoring | None:
    """What a text means; None for None.

    Args:
        text: parts joined by `+`, such as `bf16+half` or `every=2+at=layer2`.
        build: makes the model of `scorer=MODEL` from its name.

    Raises:
        ValueError: for a part that is unknown, given twice, or has no value where it needs one.

    >>> found = scoring_of("bf16+every=2")
    >>> found.dtype, found.every
    (torch.bfloat16, 2)
    """
    if text is None:
        return None
    given: dict[str, Any] = {}
    for part in text.split("+"):
        for field, value in _field(part.strip(), text, build).items():
            if field in given:
                raise ValueError(f"--scoring must say each thing once, got {text!r:.100}: {field} twice.")
            given[field] = value
    return Scoring(**given)


def scoring_for(policy: Any, text: str | None, build: Callable[[str], nn.Module] = named) -> Scoring | None:
    """`scoring_of` for a run of this method; None for a policy that has no forwards for scores."""
    return scoring_of(text if getattr(policy, "scores", True) else None, build)


def gated(policy: Any) -> bool:
    """Whether a gate has something to do for a method: it scores, and chooses while it trains."""
    if not isinstance(policy, Policy):
        return getattr(policy, "level", "static") != "static"
    chooses = bool(policy.signals) or policy.batch_picker is not None
    return chooses and policy.level != "static" and not (policy.proxy or policy.assemble)


def _field(part: str, text: str, build: Callable[[str], nn.Module]) -> dict[str, Any]:
    """The field of `Scoring` that one part of the text sets."""
    name, equals, value = part.partition("=")
    if name not in _FORMS or bool(equals) != ("=" in _FORMS[name]) or (equals and not value):
        raise ValueError(
            f"--scoring must be parts joined by +: {'; '.join(_FORMS.values())}; got {text!r:.100}."
            f"{nearest(name, tuple(_FORMS)) if name not in _FORMS else ''}"
        )
    if name in ("every", "first") and not value.isdecimal():
        raise ValueError(f"--scoring {name} must be a whole number, got {text!r:.100}.")
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "bf16": lambda: {"dtype": torch.bfloat16},
        "every": lambda: {"every": int(value)},
        "half": lambda: {"view": _half},
        "first": lambda: {"view": views.first(int(value))},
        "at": lambda: {"at": value},
        "scorer": lambda: {"scorer": build(value)},
    }
    return made[name]()


def _half(batch: Any) -> Any:
    """Stored pixels are whole numbers, and their means are not."""
    images, labels = batch
    return views.half((images.float(), labels))
