"""`untouched`: run a user's model for a while, and leave everything of it as found."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from samplewise.data.randomness import Drawing, HostLent, Lent
from samplewise.loop.scoring import Flags, device_of

__all__ = ["spare_optimizer", "untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Train with a model in the block; then restore its weights, buffers, gradients and flags.

    The model is in train mode in the block; modules that were in eval mode inside a model in train mode stay
    so. The random states of torch on the CPU and on the model's device, of numpy and of Python are restored.
    """
    device, flags = device_of(model), Flags(model)
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    before = [(tensor, tensor.detach().to("cpu", copy=True)) for tensor in tensors.values()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(module, dict(module._buffers)) for module in flags.modules]
    random = Drawing({"cpu", device.type})
    with HostLent().window(), Lent(device).window(random):
        try:
            if not model.training:
                flags.set(True)
            for parameter, _ in gradients:
                parameter.grad = None
            yield
        finally:
            flags.restore()
            for module, held in buffers:
                module._buffers.update(held)
            with torch.no_grad():
                for tensor, kept in before:
                    tensor.copy_(kept)
            for parameter, gradient in gradients:
                parameter.grad = gradient


def spare_optimizer(optimizer: Any) -> Any:
    """An optimizer of the same kind for the same parameters, with a state of its own and learning rate 0.

    Its steps take as long. The one given is not changed.
    """
    spare = object.__new__(type(optimizer))
    # A scheduler replaces `step` of the one that was given.
    vars(spare).update({name: value for name, value in vars(optimizer).items() if name != "step"})
    spare.state = type(optimizer.state)(dict)
    spare.param_groups = [_still(group) for group in optimizer.param_groups]
    return spare


def _still(group: dict[str, Any]) -> dict[str, Any]:
    rate = group.get("lr", 0.0)
    return {**group, "lr": torch.zeros_like(rate) if isinstance(rate, Tensor) else 0.0}
