"""`classifier`: builds a forward that also returns logits, targets, features and the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from samplewise.checks import nearest
from samplewise.data.outputs import Outputs

if TYPE_CHECKING:
    from samplewise.proxy import Slim

__all__ = ["Classifier", "classifier", "linear_layer"]

Losses = Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]


class _Inputs:
    """A hook that holds what a layer was given last; copies of the layer and of its holder share one."""

    def __init__(self) -> None:
        self.last: Tensor | None = None

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.last = inputs[0]

    def taken(self) -> Tensor:
        """The inputs, which are then forgotten."""
        found, self.last = self.last, None
        if found is None:
            raise RuntimeError(
                "the model ran without its head: sw.classifier(head=...) must name a layer in use."
            )
        return found

    def __getstate__(self) -> dict[str, None]:
        # Tensors with a graph cannot be copied, and a copy has no use for them.
        return {"last": None}


class Classifier:
    """A forward for `(inputs, targets)` batches, made by `classifier`; `proxy` is that of its narrow view."""

    def __init__(self, model: nn.Module, head: nn.Linear, loss: Losses | None, slim: Slim | None) -> None:
        self.model, self.head, self.loss = model, head, loss
        self.classes = head.out_features
        self.proxy = None if slim is None else self._narrow
        self._slim = slim
        self._sharded = False
        self._features = _Inputs()
        head.register_forward_pre_hook(self._features)

    def __call__(self, batch: Any) -> Outputs:
        inputs, targets = batch
        self._features.last = None
        self._sharded = self._sharded or hasattr(self.head.weight, "full_tensor")
        logits = self.model(inputs)
        bias = None if self.head.bias is None else _whole(self.head.bias, self._sharded)
        return self._outputs(logits, targets, (_whole(self.head.weight, self._sharded), bias))

    def _narrow(self, batch: Any) -> Outputs:
        """The same of the narrow view."""
        if self._slim is None:
            raise ValueError("this classifier was built without a proxy.")
        inputs, targets = batch
        self._features.last = None
        logits = self._slim(inputs)
        weight, bias = self._slim.head()
        return self._outputs(logits, targets, (weight.detach(), None if bias is None else bias.detach()))

    def _outputs(
        self, logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"], head: tuple[Tensor, Tensor | None]
    ) -> Outputs:
        features = self._features.taken()
        found = (self.loss or _cross_entropy)(logits, targets)
        loss, normalizer = found if isinstance(found, tuple) else (found, None)
        return Outputs(loss, logits, targets, torch.flatten(features, 1), head, normalizer=normalizer)


def classifier(
    model: nn.Module, head: str = "fc", loss: Losses | None = None, proxy: Slim | None = None
) -> Classifier:
    """A forward for `(inputs, targets)` batches of a classifier, by hooking its last layer.

    Of a model under `fully_shard` the head is gathered, so every process must run the forward equally often.

    Args:
        model: gives logits (b, c) for the inputs.
        head: the name of the last linear layer, as `fc` or `classifier.1`; features are its input.
        loss: (logits, targets) -> (b,), or the pair of that and the normalizer (b,) of `Outputs`; None:
            cross-entropy without reduction.
        proxy: `sw.proxy.slim(model, ..., head=head)`, for methods that score with a narrow view.

    Raises:
        ValueError: if `head` names no linear layer of the model, with a list of those that are, or if
            `proxy` is a view of another model or with another head.
    """
    last = linear_layer(model, head)
    if proxy is not None and proxy.head_layer is not last:
        raise ValueError(
            f"proxy must be a narrow view of this model with the same head {head!r}: "
            f"sw.proxy.slim(model, head={head!r}, ...)."
        )
    return Classifier(model, last, loss, proxy)


def linear_layer(model: nn.Module, head: str) -> nn.Linear:
    """The linear layer of that name; another name is an error that lists the linear layers."""
    layers = dict(model.named_modules())
    linear = ", ".join(name for name, layer in layers.items() if isinstance(layer, nn.Linear))
    if head not in layers:
        raise ValueError(
            f"the model has no layer {head!r}.{nearest(head, layers)} Linear layers: {linear or 'none'}."
        )
    if not isinstance(layers[head], nn.Linear):
        raise ValueError(
            f"head must name a linear layer, but {head!r} is a {type(layers[head]).__name__}. "
            f"Linear layers: {linear or 'none'}."
        )
    found: nn.Linear = layers[head]
    return found


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


def _whole(parameter: Tensor, sharded: bool) -> Tensor:
    """The values of a parameter, of all processes' parts if it is sharded."""
    values: Any = parameter.detach()
    if hasattr(values, "full_tensor"):
        whole: Tensor = values.full_tensor()
        return whole
    # Sharding frees the memory of whole parameters behind the back of those who still refer to them.
    return values.clone() if sharded else parameter.detach()
