"""A small model next to the large one: logistic regression on standardised inputs, trained online."""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from samplewise.checks import Range
from samplewise.data.declared import Column, Fields, Number
from samplewise.data.layout import Shared
from samplewise.data.outputs import walk

__all__ = ["STATE", "Assistant", "first_tensor"]

_VECTOR = Column((torch.float32,), (None,))
_ENTRIES = {"mean": _VECTOR, "square": _VECTOR, "weight": _VECTOR, "bias": Column((torch.float32,), ())}
STATE = Fields({"seen": Number(Range(0), whole=True), **_ENTRIES}, optional=tuple(_ENTRIES))
"""The entries of `Assistant.state_dict`. Before the first input there is only `seen`."""


class Assistant:
    """Predicts a yes/no answer for each sample from its input. Each batch of answers gives one gradient step.

    Inputs are standardised by the mean and the deviation of all inputs so far. An input that never varied
    becomes 0. Weights and bias start at 0, so the first predictions are 1/2. All tensors are on the device
    of the inputs.

    Args:
        lr: the learning rate.
    """

    def __init__(self, lr: float) -> None:
        self.lr, self.flops, self.seen = lr, 0, 0
        self.entries: dict[str, Tensor] = {}

    @property
    def width(self) -> int | None:
        """The numbers in an input. None before the first input."""
        return len(self.entries["mean"]) if self.entries else None

    def standardised(self, inputs: Float[Tensor, "b p"], extra: int = 0) -> Float[Tensor, "b p"]:
        """Standardise inputs by the moments of all inputs so far, including these.

        Args:
            inputs: the inputs of a batch.
            extra: how many numbers the caller will append, not standardised, before it predicts.
        """
        b, p = inputs.shape
        if not self.entries:
            zero = inputs.new_zeros(p)
            self.entries = {"mean": zero, "square": zero, "weight": inputs.new_zeros(p + extra)}
            self.entries["bias"] = inputs.new_zeros(())
        # Chan, Golub and LeVeque's update of moments: it loses no digits when means are large.
        mean = inputs.mean(0)
        apart, total = mean - self.entries["mean"], self.seen + b
        self.entries["mean"] = self.entries["mean"] + apart * (b / total)
        within = (inputs - mean).square().sum(0)
        self.entries["square"] = self.entries["square"] + within + apart.square() * (self.seen * b / total)
        self.seen = total
        deviation = (self.entries["square"] / total).sqrt()
        # Equal numbers differ from their mean by rounding. Do not scale that difference up.
        varies = deviation > 1e-6 * self.entries["mean"].abs()
        scale = torch.where(varies, 1 / deviation, 0)
        return (inputs - self.entries["mean"]) * scale

    def chances(self, z: Float[Tensor, "b p"]) -> Float[Tensor, " b"]:
        """The predicted probability of True."""
        self.flops += 2 * z.numel()
        return torch.sigmoid(z @ self.entries["weight"] + self.entries["bias"])

    def learn(
        self, z: Float[Tensor, "k p"], answers: Shaped[Tensor, " k"], known: Shaped[Tensor, " k"]
    ) -> None:
        """One gradient step on the mean cross-entropy over the rows whose answer is known."""
        wrong = torch.where(known, self.chances(z) - answers.to(z), 0) / known.sum().clamp(min=1)
        self.flops += 2 * z.numel()
        self.entries["weight"] = self.entries["weight"] - self.lr * (wrong @ z)
        self.entries["bias"] = self.entries["bias"] - self.lr * wrong.sum()

    def state_dict(self) -> dict[str, Any]:
        """The weights, the moments, and the number of inputs they were computed from."""
        return {"seen": self.seen, **{name: entry.clone() for name, entry in self.entries.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        self.seen = state["seen"]
        self.entries = {name: entry.clone() for name, entry in state.items() if name != "seen"}

    def to(self, device: torch.device) -> None:
        """Move the tensors to this device."""
        self.entries = {name: entry.to(device) for name, entry in self.entries.items()}


def first_tensor(data: Any) -> Tensor | None:
    """The first tensor or array in a batch that is not `sw.shared`. None if there is none."""
    found: list[Tensor] = []

    def keep(leaf: Any, path: str) -> Any:
        if not found and (isinstance(leaf, Tensor) or hasattr(leaf, "__array_interface__")):
            found.append(torch.as_tensor(leaf))
        return leaf

    walk(data, keep, stop=lambda value, path: isinstance(value, Shared))
    return found[0] if found else None
