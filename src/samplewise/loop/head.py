"""`Head`: a linear layer on features of a layer of the model, trained by an Adam of its own."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from samplewise.checks import Range
from samplewise.data.declared import Column, Fields, Form, Maybe, Number
from samplewise.distributed import collectives
from samplewise.rng import generator

__all__ = ["Head", "first_tensor", "pooled", "scaled"]

RATE, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8
"""Of Adam (arXiv:1412.6980, algorithm 1)."""
_SCALES = ("shift", "scale")
_TENSORS = ("weight", "bias", "weight_mean", "bias_mean", "weight_square", "bias_square")


class Head:
    """Class numbers, or numbers, from features (b, d). Its size d is that of the first features.

    Each row of features is first shifted to mean 0 and scaled to variance 1, so that one learning rate serves
    all layers. For numbers it learns (target - shift) / scale, with the mean and standard deviation of the
    first targets it learns from. Several processes add up their gradients, so all of them have the same head.

    Args:
        outputs: number of classes; None: as many as the first targets have numbers.
        seed: of the first weights.
    """

    def __init__(self, outputs: int | None, seed: int) -> None:
        self.outputs, self.seed, self.steps = outputs, seed, 0
        self._parts: dict[str, Tensor] = {}

    def __call__(self, features: Float[Tensor, "*rows d"], outputs: int | None = None) -> Tensor:
        """Logits or numbers (*rows, outputs) of scaled features. `outputs`: how many, if not known before."""
        parts = self._built(features, outputs)
        found = F.linear(features, parts["weight"], parts["bias"])
        return found * parts["scale"] + parts["shift"] if "scale" in parts else found

    @property
    def layer(self) -> tuple[Tensor, Tensor]:
        """Weight (c, d) and bias (c,)."""
        return self._parts["weight"], self._parts["bias"]

    def learn(self, features: Float[Tensor, "k d"], targets: Tensor) -> int:
        """One step of Adam on k rows, on all processes. Returns its FLOPs.

        Targets are class numbers (k,), for the mean cross-entropy, or numbers (k, outputs), for the mean
        squared error in units of their scale.
        """
        numbers, k = targets.is_floating_point(), len(features)
        parts = self._built(features, targets.shape[1] if numbers else None)
        if numbers and "scale" not in parts:
            self._measure(targets, parts)
        slope = F.linear(features, parts["weight"], parts["bias"])
        if numbers:
            slope = (slope - (targets - parts["shift"]) / parts["scale"]) * (2 / targets.shape[1])
        else:
            slope = slope.softmax(1)
            slope[torch.arange(k, device=slope.device), targets] -= 1
        flat = torch.cat([(slope.T @ features).flatten(), slope.sum(0), slope.new_tensor([float(k)])])
        flat = collectives.add_up(flat)
        flat, count = flat[:-1] / flat[-1].clamp(min=1), self.steps + 1
        wide = parts["weight"].numel()
        for name, gradient in (("weight", flat[:wide].view_as(parts["weight"])), ("bias", flat[wide:])):
            mean, square = parts[f"{name}_mean"], parts[f"{name}_square"]
            mean.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            scale = (square / (1 - BETAS[1] ** count)).sqrt_().add_(EPSILON)
            parts[name].addcdiv_(mean, scale, value=-RATE / (1 - BETAS[0] ** count))
        self.steps = count
        return 4 * k * wide

    def _measure(self, targets: Float[Tensor, "k outputs"], parts: dict[str, Tensor]) -> None:
        """Set shift and scale from the targets of all processes. A scale of 0 becomes 1."""
        ones = torch.ones_like(targets[:, :1]).expand_as(targets)
        total, count = collectives.add_up(torch.stack([targets.sum(0), ones.sum(0)]))
        mean = total / count.clamp(min=1)
        spread = (collectives.add_up((targets - mean).square().sum(0)) / count.clamp(min=1)).sqrt()
        parts["shift"], parts["scale"] = mean, torch.where(spread > 0, spread, 1.0)

    def _built(self, features: Float[Tensor, "*rows d"], outputs: int | None = None) -> dict[str, Tensor]:
        """The tensors, on the device of the features; made at the first call."""
        d = features.shape[-1]
        if not self._parts:
            self.outputs = self.outputs or outputs or 1
            bound = d**-0.5
            drawn = torch.rand(self.outputs, d, generator=generator(self.seed, "scoring head"))
            self._parts = {"weight": (2 * drawn - 1) * bound, "bias": torch.zeros(self.outputs)}
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
        """Steps, weights and moments, shift and scale. A tensor is None before the batch that makes it."""
        parts = {name: self._parts.get(name) for name in (*_TENSORS, *_SCALES)}
        tensors = {name: None if part is None else part.clone() for name, part in parts.items()}
        return {"steps": self.steps, **tensors}

    def form(self) -> Form:
        """The form of a state."""
        wide, one = (self.outputs, None), (self.outputs,)
        forms: dict[str, Form] = {"steps": Number(Range(0), whole=True)}
        for name in (*_TENSORS, *_SCALES):
            shape = wide if name.startswith("weight") else one
            forms[name] = Maybe(Column((torch.float32,), shape))
        return Fields(forms)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.steps = state["steps"]
        given = {name: state[name] for name in (*_TENSORS, *_SCALES) if state[name] is not None}
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
    found = first_tensor(output, where)
    if found.ndim < 2 or len(found) != b or not found.is_floating_point():
        raise ValueError(
            f"{where} must return numbers with {b} rows first, got {found.dtype} of shape "
            f"{tuple(found.shape)}. Name another layer."
        )
    found = found.detach().float()
    if found.ndim == 3:
        if mask is not None and mask.shape == found.shape[:2]:
            share = mask.to(found)
            found = torch.einsum("btd,bt->bd", found, share / share.sum(1, keepdim=True).clamp(min=1))
        else:
            found = found.mean(1)
    elif found.ndim > 3:
        found = found.flatten(2).mean(2)
    return scaled(found)


def first_tensor(output: Any, where: str) -> Tensor:
    """The tensor that a layer returned, or the first one of a tuple, list or mapping."""
    while not isinstance(output, Tensor):
        values = list(output.values()) if hasattr(output, "values") else output
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f"{where} must return a tensor, got {type(output).__name__}. Name another.")
        output = values[0]
    return output


def scaled(found: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """Each row shifted to mean 0 and scaled to variance 1, in float32, without its graph."""
    found = found.detach().float()
    return F.layer_norm(found, found.shape[-1:])
