"""`Head`: a linear classifier on pooled features of a layer, trained by an Adam of its own."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from samplewise.checks import Range
from samplewise.data.declared import Column, Fields, Form, Maybe, Number
from samplewise.distributed import collectives
from samplewise.rng import generator

__all__ = ["Head", "pooled"]

RATE, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8
"""Of Adam (arXiv:1412.6980, algorithm 1)."""
_TENSORS = ("weight", "bias", "weight_mean", "bias_mean", "weight_square", "bias_square")


class Head:
    """Class numbers from features (b, d). Its size d is that of the first features.

    Each row of features is first shifted to mean 0 and scaled to variance 1, so that one learning rate serves
    all layers. Several processes add up their gradients, so all of them have the same head.

    Args:
        classes: number of classes.
        seed: of the first weights.
    """

    def __init__(self, classes: int, seed: int) -> None:
        self.classes, self.seed, self.steps = classes, seed, 0
        self._parts: dict[str, Tensor] = {}

    def __call__(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Logits of scaled features."""
        parts = self._built(features)
        return F.linear(features, parts["weight"], parts["bias"])

    @property
    def layer(self) -> tuple[Tensor, Tensor]:
        """Weight (c, d) and bias (c,)."""
        return self._parts["weight"], self._parts["bias"]

    def learn(self, features: Float[Tensor, "k d"], targets: Int[Tensor, " k"]) -> int:
        """One step of Adam on the mean cross-entropy of k rows, on all processes. Returns its FLOPs."""
        parts, k = self._built(features), len(features)
        slope = (F.linear(features, parts["weight"], parts["bias"])).softmax(1)
        slope -= F.one_hot(targets, self.classes)
        flat = torch.cat([(slope.T @ features).flatten(), slope.sum(0), slope.new_tensor([float(k)])])
        flat = collectives.add_up(flat)
        flat, count = flat[:-1] / flat[-1].clamp(min=1), self.steps + 1
        split = features.shape[1] * self.classes
        for name, gradient in (("weight", flat[:split].view_as(parts["weight"])), ("bias", flat[split:])):
            mean, square = parts[f"{name}_mean"], parts[f"{name}_square"]
            mean.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            scale = (square / (1 - BETAS[1] ** count)).sqrt_().add_(EPSILON)
            parts[name].addcdiv_(mean, scale, value=-RATE / (1 - BETAS[0] ** count))
        self.steps = count
        return 4 * k * self.classes * features.shape[1]

    def _built(self, features: Float[Tensor, "b d"]) -> dict[str, Tensor]:
        """The tensors, on the device of the features; made at the first call."""
        d = features.shape[1]
        if not self._parts:
            bound = d**-0.5
            drawn = torch.rand(self.classes, d, generator=generator(self.seed, "scoring head"))
            self._parts = {"weight": (2 * drawn - 1) * bound, "bias": torch.zeros(self.classes)}
            for name in _TENSORS[2:]:
                self._parts[name] = torch.zeros_like(self._parts[name.split("_")[0]])
        if self._parts["weight"].shape[1] != d:
            raise ValueError(
                f"Scoring.at must give features of one size, got {d} after {self._parts['weight'].shape[1]}."
            )
        if self._parts["weight"].device != features.device:
            self._parts = {name: part.to(features.device) for name, part in self._parts.items()}
        return self._parts

    def state_dict(self) -> dict[str, Any]:
        """Steps, weights and moments; the tensors are None before the first batch."""
        tensors = {name: self._parts[name].clone() if self._parts else None for name in _TENSORS}
        return {"steps": self.steps, **tensors}

    def form(self) -> Form:
        """The form of a state."""
        wide, one = (self.classes, None), (self.classes,)
        forms: dict[str, Form] = {"steps": Number(Range(0), whole=True)}
        for name in _TENSORS:
            shape = wide if name.startswith("weight") else one
            forms[name] = Maybe(Column((torch.float32,), shape))
        return Fields(forms)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.steps = state["steps"]
        given = {name: state[name] for name in _TENSORS if state[name] is not None}
        self._parts = {name: part.clone() for name, part in given.items()}


def pooled(output: Any, mask: Tensor | None, b: int, where: str) -> Float[Tensor, "b d"]:
    """The output of a layer as one scaled row of features for each of b samples, in float32.

    (b, d) stays. (b, tokens, d) is averaged over the tokens, those of the mask if it fits. (b, d, ...) with 4
    axes or more is averaged over all axes after the second.

    Args:
        output: a tensor, or a tuple, list or mapping whose first tensor counts.
        mask: (b, tokens), 1 for tokens and 0 for padding.
        b: number of rows.
        where: the layer, for errors.
    """
    while not isinstance(output, Tensor):
        values = list(output.values()) if hasattr(output, "values") else output
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f"{where} must return a tensor, got {type(output).__name__}. Name another.")
        output = values[0]
    if output.ndim < 2 or len(output) != b or not output.is_floating_point():
        raise ValueError(
            f"{where} must return numbers with {b} rows first, got {output.dtype} of shape "
            f"{tuple(output.shape)}. Name another layer."
        )
    found = output.detach().float()
    if found.ndim == 3:
        if mask is not None and mask.shape == found.shape[:2]:
            share = mask.to(found)
            found = torch.einsum("btd,bt->bd", found, share / share.sum(1, keepdim=True).clamp(min=1))
        else:
            found = found.mean(1)
    elif found.ndim > 3:
        found = found.flatten(2).mean(2)
    return F.layer_norm(found, found.shape[1:])
