"""Signals: pure functions that measure each sample of a forward pass.

A signal's parameters name what it needs of `Outputs`, so a policy can tell at the start what the
user's forward must return. `weight` and `bias` are the head's.
"""

import inspect
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise.outputs import Outputs

__all__ = ["confidence", "correct", "loss", "measure", "needs", "target_probability"]

Signal = Callable[..., Tensor]


def loss(loss: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The per-sample training loss itself, before any weight."""
    return loss


def correct(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
    """Whether the most likely class is the target.

    >>> correct(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([1, 1]))
    tensor([ True, False])
    """
    return logits.argmax(1) == targets


def confidence(logits: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """The probability of the most likely class: the softmax is over classes.

    KAKURENBO's official code normalises over the batch instead, which is an error.

    >>> confidence(torch.tensor([[0.0, 0.0]]))
    tensor([0.5000])
    """
    return logits.softmax(1).amax(1)


def target_probability(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The probability the model gives to the target class.

    >>> target_probability(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([0.5000])
    """
    return logits.softmax(1).gather(1, targets[:, None]).squeeze(1)


@cache
def needs(signal: Signal) -> tuple[str, ...]:
    """The names of what a signal reads: fields of `Outputs`, or `weight` and `bias` of its head.

    >>> needs(correct)
    ('logits', 'targets')
    """
    return tuple(inspect.signature(signal).parameters)


@torch.no_grad()
def measure(signals: tuple[Signal, ...], outputs: Outputs, owner: str) -> dict[str, Tensor]:
    """Each signal's values (b,) under its own name, detached, at least float32."""
    values = {}
    for signal in signals:
        given = {}
        for name in needs(signal):
            value = _field(outputs, name)
            if value is None and name != "bias":
                wanted = "head" if name in ("weight", "bias") else name
                raise ValueError(
                    f"{owner} needs {wanted}: return sw.Outputs(loss=..., {wanted}=...) from forward."
                )
            if value is not None and value.dtype in (torch.float16, torch.bfloat16):
                value = value.float()
            given[name] = None if value is None else value.detach()
        found = signal(**given)
        if found.shape[:1] != outputs.loss.shape or found.ndim > 2:
            raise ValueError(
                f"signal {signal.__name__} must return a value for each of {len(outputs.loss)} samples, "
                f"got shape {tuple(found.shape)}."
            )
        values[signal.__name__] = found
    return values


def _field(outputs: Outputs, name: str) -> Tensor | None:
    if name in ("weight", "bias"):
        return None if outputs.head is None else outputs.head[name == "bias"]
    value: Tensor | None = getattr(outputs, name)
    return value
