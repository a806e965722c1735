"""`classifier`: builds a forward that also returns logits, targets, features and the head."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samplewise.checks import nearest
from samplewise.outputs import Outputs

__all__ = ["classifier"]


def classifier(
    model: nn.Module, head: str = "fc", loss: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Callable[[Any], Outputs]:
    """A forward for `(inputs, targets)` batches of a classifier, by hooking its last layer.

    Of a model under `fully_shard` the head is gathered, so every process must run the forward equally often.

    Args:
        model: gives logits (b, c) for the inputs.
        head: the name of the last linear layer; features are its input.
        loss: (logits, targets) -> (b,); None: cross-entropy without reduction.
    """
    layers = dict(model.named_modules())
    if head not in layers:
        linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
        raise ValueError(
            f"the model has no layer {head!r}.{nearest(head, layers)} Linear layers: {', '.join(linear)}."
        )
    last = layers[head]
    if not isinstance(last, nn.Linear):
        raise ValueError(f"head must name a linear layer, but {head!r} is a {type(last).__name__}.")
    seen: list[Tensor] = []
    sharded = False
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def forward(batch: Any) -> Outputs:
        nonlocal sharded
        inputs, targets = batch
        seen.clear()
        sharded = sharded or hasattr(last.weight, "full_tensor")
        logits = model(inputs)
        features = seen.pop()
        losses = F.cross_entropy(logits, targets, reduction="none") if loss is None else loss(logits, targets)
        bias = None if last.bias is None else _whole(last.bias, sharded)
        head_now = (_whole(last.weight, sharded), bias)
        return Outputs(losses, logits, targets, torch.flatten(features, 1), head_now)

    return forward


def _whole(parameter: Tensor, sharded: bool) -> Tensor:
    """The values of a parameter, of all processes' parts if it is sharded."""
    values: Any = parameter.detach()
    if hasattr(values, "full_tensor"):
        whole: Tensor = values.full_tensor()
        return whole
    # Sharding frees the memory of whole parameters behind the back of those who still refer to them.
    return values.clone() if sharded else parameter.detach()
