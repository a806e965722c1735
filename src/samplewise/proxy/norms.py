"""Norms that contain a second, narrow norm with its own parameters and statistics."""

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
    """A norm that contains a narrow norm. A full pass uses and trains one, a narrow pass the other."""

    slim_axis = 1
    narrow: nn.Module

    def narrow_forward(self, input: Tensor) -> Tensor:
        """Apply the narrow norm. The input has its number of channels; the output has the input's shape."""
        found: Tensor = self.narrow(input)
        return found


class SlimBatchNorm1d(SlimNorm, nn.BatchNorm1d):
    """A batch norm of vectors or sequences that contains a narrow one."""


class SlimBatchNorm2d(SlimNorm, nn.BatchNorm2d):
    """A batch norm of images that contains a narrow one."""


class SlimSyncBatchNorm(SlimNorm, nn.SyncBatchNorm):
    """A batch norm over all processes that contains a narrow one."""


class SlimGroupNorm(SlimNorm, nn.GroupNorm):
    """A group norm that contains a narrow one with fewer groups of the same number of channels."""


class SlimLayerNorm(SlimNorm, nn.LayerNorm):
    """A layer norm over the last axis that contains a narrow one."""

    slim_axis = -1


def narrow_norm(norm: nn.Module, c: int) -> nn.Module:
    """Make a norm of `c` channels. Its initial parameters and statistics are the leading slice of `norm`.

    Raises:
        ValueError: if `c` is not a multiple of the channels per group of a group norm.
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
            raise ValueError(
                f"the narrow input must be a multiple of the group size, {each} channels, got {c}"
            )
        return nn.GroupNorm(c // each, c, norm.eps, norm.affine, **place)
    if isinstance(norm, nn.SyncBatchNorm):
        place["process_group"] = norm.process_group
    kinds: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
    kind = next(kind for kind in kinds if isinstance(norm, kind))
    made: nn.Module = kind(c, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, **place)
    return made
