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
    """A forward pre-hook that stores the last input of a layer.

    The hook and the classifier share one object. After a deep copy their copies share one object too.
    """

    def __init__(self) -> None:
        self.last: Tensor | None = None

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.last = inputs[0]

    def taken(self) -> Tensor:
        """Return the stored inputs and clear them."""
        found, self.last = self.last, None
        if found is None:
            raise RuntimeError(
                "the forward of the model did not call the head. Set sw.classifier(head=...) to the name of "
                "a linear layer that the forward calls."
            )
        return found

    def __getstate__(self) -> dict[str, None]:
        # Tensors with an autograd graph cannot be copied, and a copy does not need them.
        return {"last": None}


class Classifier:
    """A forward for `(inputs, targets)` batches. Made by `classifier`.

    `proxy` is the same forward with the narrow view of the model, or None.
    """

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

    def of(self, model: nn.Module) -> Classifier:
        """The same forward of another model with as many classes, such as a small one that scores.

        Its head is the linear layer with the name of this head, or else its last linear layer.

        Raises:
            ValueError: if the other model has no linear layer, or its head has other outputs.
        """
        mine = next(name for name, layer in self.model.named_modules() if layer is self.head)
        linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        if not linear:
            raise ValueError(
                f"{type(model).__name__} must have a linear layer as its head, but has none. Give a forward "
                "that runs it, such as sw.Scorer(model, forward)."
            )
        name = mine if mine in linear else list(linear)[-1]
        if (outputs := linear[name].out_features) != self.classes:
            raise ValueError(
                f"the head {name!r} of {type(model).__name__} must have {self.classes} outputs, as that of "
                f"{type(self.model).__name__}, got {outputs}."
            )
        return Classifier(model, linear[name], self.loss, None)

    def _narrow(self, batch: Any) -> Outputs:
        """The forward of the narrow view."""
        if self._slim is None:
            raise ValueError(
                "this classifier has no proxy. Build it with "
                "sw.classifier(model, proxy=sw.proxy.slim(model, ...))."
            )
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
    """Build a forward for `(inputs, targets)` batches that returns `Outputs` with all fields of a classifier.

    A hook on the last linear layer reads the features. If the model is sharded with `fully_shard`, the head
    is gathered from all processes, so every process must run the forward the same number of times.

    Args:
        model: returns logits (b, c) for the inputs.
        head: the name of the last linear layer, such as `fc` or `classifier.1`; its input is the features.
        loss: (logits, targets) -> per-sample losses (b,), or a pair (losses, normalizer) as in `Outputs`.
            None means cross-entropy.
        proxy: `sw.proxy.slim(model, ..., head=head)`, for methods that score with a narrow view.

    Raises:
        ValueError: if `head` is not the name of a linear layer of the model (the error lists them), or if
            `proxy` is a view of another model or has another head.
    """
    last = linear_layer(model, head)
    if proxy is not None and proxy.head_layer is not last:
        raise ValueError(
            f"proxy must be a narrow view of this model with the same head {head!r}: "
            f"sw.proxy.slim(model, head={head!r}, ...)."
        )
    return Classifier(model, last, loss, proxy)


def linear_layer(model: nn.Module, head: str) -> nn.Linear:
    """Return the linear layer named `head`. Otherwise raise an error that lists the linear layers."""
    layers = dict(model.named_modules())
    linear = ", ".join(name for name, layer in layers.items() if isinstance(layer, nn.Linear))
    if head not in layers:
        raise ValueError(
            f"head must name a linear layer, but the model has no layer {head!r}.{nearest(head, layers)} "
            f"Linear layers: {linear or 'none'}."
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
    """The full values of a parameter, gathered from all processes if it is sharded."""
    values: Any = parameter.detach()
    if hasattr(values, "full_tensor"):
        whole: Tensor = values.full_tensor()
        return whole
    # Sharding frees the memory of the full parameter while references to it still exist, so copy it.
    return values.clone() if sharded else parameter.detach()
