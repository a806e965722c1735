"""Norms with a second, narrow norm inside, which has parameters and statistics of its own."""

from itertools import chain
from typing import Any

from torch import Tensor, nn

from samplewise.proxy.layers import Slimmed

__all__ = [
    "SlimBatchNorm1d",
    "SlimBatchNorm2d",
    "SlimGroupNorm",
    "SlimLayerNorm",
    "SlimNorm",
    "SlimSyncBatchNorm",
    "narrow_norm",
]


class SlimNorm(Slimmed):
    """A norm beside a narrow one: of each pass only one of the two learns."""

    slim_axis = 1
    narrow: nn.Module

    def narrow_forward(self, input: Tensor) -> Tensor:
        """Of the shape of the input, which has as many channels as the narrow norm."""
        found: Tensor = self.narrow(input)
        return found


class SlimBatchNorm1d(SlimNorm, nn.BatchNorm1d):
    """A batch norm of vectors or sequences beside a narrow one."""


class SlimBatchNorm2d(SlimNorm, nn.BatchNorm2d):
    """A batch norm of images beside a narrow one."""


class SlimSyncBatchNorm(SlimNorm, nn.SyncBatchNorm):
    """A batch norm over all processes beside a narrow one."""


class SlimGroupNorm(SlimNorm, nn.GroupNorm):
    """A group norm beside a narrow one with as many channels a group, hence fewer groups."""


class SlimLayerNorm(SlimNorm, nn.LayerNorm):
    """A layer norm over the last axis beside a narrow one."""

    slim_axis = -1


def narrow_norm(norm: nn.Module, c: int) -> nn.Module:
    """A norm of `c` channels that begins as the leading slice of `norm`.

    Raises:
        ValueError: if `c` channels are no whole number of groups of a group norm.
    """
    made = _made(norm, c)
    own = chain(norm.named_parameters(recurse=False), norm.named_buffers(recurse=False))
    made.load_state_dict({name: value.detach()[:c] if value.ndim else value for name, value in own})
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(norm.get_parameter(name).requires_grad)
    return made.train(norm.training)


def _made(norm: nn.Module, c: int) -> nn.Module:
    own = chain(norm.parameters(recurse=False), norm.buffers(recurse=False))
    first = next((value for value in own if value.is_floating_point()), None)
    place: dict[str, Any] = {} if first is None else {"device": first.device, "dtype": first.dtype}
    if isinstance(norm, nn.LayerNorm):
        return nn.LayerNorm(c, norm.eps, norm.elementwise_affine, norm.bias is not None, **place)
    if isinstance(norm, nn.GroupNorm):
        each = norm.num_channels // norm.num_groups
        if c % each:
            raise ValueError(f"{c} channels are no whole number of groups of {each}")
        return nn.GroupNorm(c // each, c, norm.eps, norm.affine, **place)
    if isinstance(norm, nn.SyncBatchNorm):
        place["process_group"] = norm.process_group
    kinds: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
    kind = next(kind for kind in kinds if isinstance(norm, kind))
    made: nn.Module = kind(c, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, **place)
    return made
