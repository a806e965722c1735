"""Convolutions and linear layers that can also run with the leading channels of their weights."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from samplewise.proxy.widths import Switch

__all__ = ["SlimConv1d", "SlimConv2d", "SlimHeads", "SlimLinear", "Slimmed", "wide_in", "wide_out"]


def wide_in(layer: nn.Module) -> int:
    """The number of input channels of a layer in the full pass."""
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1]
    names = ("in_channels", "in_features", "num_features", "num_channels", "embed_dim")
    return next(getattr(layer, name) for name in names if hasattr(layer, name))  # type: ignore[no-any-return]


def wide_out(layer: nn.Module) -> int:
    """The number of output channels of a layer in the full pass."""
    found: int = (
        getattr(layer, "out_channels", None) or getattr(layer, "out_features", None) or wide_in(layer)
    )
    return found


class Slimmed(nn.Module):
    """A layer with a narrow form. An existing layer is converted by changing its class."""

    slim_switch: Switch
    slim_axis: ClassVar[int]
    """The axis of the channels in input and output."""

    def forward(self, input: Tensor) -> Tensor:
        """Run the layer, or its narrow form if the switch is on."""
        if self.slim_switch.on:
            return self.narrow_forward(input)
        found: Tensor = super().forward(input)
        return found

    def narrow_forward(self, input: Tensor) -> Tensor:
        """The narrow form: takes the leading input channels and returns the leading output channels."""
        raise TypeError(f"{type(self).__name__} must define narrow_forward(input)")


class SlimLinear(Slimmed, nn.Linear):
    """A linear layer whose narrow form takes leading inputs and returns the leading `slim_out` outputs."""

    slim_out: int
    slim_in: int | None = None
    """Number of inputs to use, if the input has more (see `SlimHeads`)."""
    slim_axis = -1

    def narrow_forward(self, input: Tensor) -> Tensor:
        """(.., leading inputs) to (.., slim_out). The number of leading inputs is that of the input."""
        input = input[..., : self.slim_in]
        bias = None if self.bias is None else self.bias[: self.slim_out]
        return F.linear(input, self.weight[: self.slim_out, : input.shape[-1]], bias)


class SlimConv1d(Slimmed, nn.Conv1d):
    """A 1-d convolution whose narrow form takes leading channels and returns the leading `slim_out`."""

    slim_out: int
    slim_axis = -2

    def narrow_forward(self, input: Tensor) -> Tensor:
        """(.., leading channels, length) to (.., slim_out, length)."""
        weight, bias, groups = _leading(self, input.shape[-2])
        input, padding = _padded(self, input)
        return F.conv1d(input, weight, bias, self.stride, padding, self.dilation, groups)


class SlimConv2d(Slimmed, nn.Conv2d):
    """A 2-d convolution whose narrow form takes leading channels and returns the leading `slim_out`."""

    slim_out: int
    slim_axis = -3

    def narrow_forward(self, input: Tensor) -> Tensor:
        """(.., leading channels, h, w) to (.., slim_out, h, w)."""
        weight, bias, groups = _leading(self, input.shape[-3])
        input, padding = _padded(self, input)
        return F.conv2d(input, weight, bias, self.stride, padding, self.dilation, groups)


def _leading(layer: SlimConv1d | SlimConv2d, inputs: int) -> tuple[Tensor, Tensor | None, int]:
    """Return weight, bias and groups for `inputs` leading input channels.

    A grouped convolution keeps whole groups. The number of kept groups sets the number of output channels.
    """
    if layer.groups == 1:
        out, groups, weight = layer.slim_out, 1, layer.weight[: layer.slim_out, :inputs]
    else:
        each = layer.in_channels // layer.groups
        if inputs % each:
            raise ValueError(
                f"the narrow input must be a multiple of the group size, {each} channels, got {inputs}"
            )
        groups = inputs // each
        out = groups * (layer.out_channels // layer.groups)
        weight = layer.weight[:out]
    return weight, None if layer.bias is None else layer.bias[:out], groups


def _padded(layer: SlimConv1d | SlimConv2d, input: Tensor) -> tuple[Tensor, str | tuple[int, ...]]:
    """Return the padded input and the padding for the convolution call, which can only pad with zeros."""
    if layer.padding_mode == "zeros":
        return input, layer.padding
    around = layer._reversed_padding_repeated_twice
    return F.pad(input, around, mode=layer.padding_mode), (0,) * (layer.weight.ndim - 2)


class SlimHeads(Slimmed, nn.Linear):
    """A projection to heads, in `slim_parts` parts (as query, key, value), that can use leading heads only.

    It uses the leading `slim_out` rows of each part. If the model's code needs all heads (`slim_padded`), the
    output of the others is zero, and later layers do not use it.
    """

    slim_out: int
    slim_parts: int
    slim_padded: bool
    slim_axis = -1

    def narrow_forward(self, input: Tensor) -> Tensor:
        """(.., in) to (.., parts * slim_out), or to (.., out) with zeros if `slim_padded`."""
        found = self.leading(input)
        missing = self.out_features // self.slim_parts - self.slim_out
        if not self.slim_padded or not missing:
            return found
        parts = found.view(*found.shape[:-1], self.slim_parts, self.slim_out)
        return F.pad(parts, (0, missing)).flatten(-2)

    def leading(self, input: Tensor) -> Tensor:
        """The output of the leading rows of each part: (.., parts * slim_out)."""
        if self.out_features == self.slim_parts * self.slim_out:
            return F.linear(input, self.weight, self.bias)
        weight = self.weight.view(self.slim_parts, -1, self.in_features)[:, : self.slim_out].flatten(0, 1)
        bias = (
            None if self.bias is None else self.bias.view(self.slim_parts, -1)[:, : self.slim_out].flatten()
        )
        return F.linear(input, weight, bias)
