"""Checking on an example that the narrow pass uses exactly the leading channels of the full pass."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from samplewise.proxy.layers import SlimHeads, Slimmed, wide_out
from samplewise.proxy.roles import named
from samplewise.proxy.widths import Switch

__all__ = ["MisalignedError", "check_alignment"]

Run = Callable[[], Any]

CLOSE = 1e-2
"""Tolerance, as a share of the largest value. A misplaced channel differs by about that whole value."""


class MisalignedError(ValueError):
    """A layer would get other channels in the narrow pass than in the full pass."""


def check_alignment(model: nn.Module, switch: Switch, run: Run, head: str) -> None:
    """Compare the narrow pass with a second pass at full width, where unused channels hold noise.

    In the second pass, every slimmed layer computes its leading channels from the leading channels of its
    input, and fills its other channels with noise. If code between the layers (flatten, concatenate, shuffle,
    sum over channels) moves noise into the leading channels, the weights of the narrow view would be applied
    to channels they were not trained for.

    Pass a copy of the model: parameters are changed slightly, so that zeros do not hide an error, and the
    layers keep the forward of the second pass.

    Raises:
        MisalignedError: if the inputs of a layer differ. The error names the first such layer.
    """
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            size = 0.3 * parameter.detach().square().mean().sqrt() + 0.05
            parameter.data.add_(size * _noise(parameter, rng))
    layers = {name: m for name, m in model.named_modules() if isinstance(m, Slimmed)}
    inputs: dict[str, list[Tensor]] = defaultdict(list)
    hooks = [m.register_forward_pre_hook(_recorder(inputs[name])) for name, m in layers.items()]
    ends: list[Tensor] = []
    end = model.get_submodule(head).register_forward_hook(lambda _, given, found: ends.append(found))
    with switch.narrow():
        narrow = run()
        for hook in hooks:
            hook.remove()
        for name, layer in layers.items():
            vars(layer)["forward"] = _among_noise(name, layer, inputs[name], rng)
        full = run()
    end.remove()
    half = len(ends) // 2
    if len(ends) % 2 or not all(map(_same, ends[:half], ends[half:])):
        raise _misaligned(head, model.get_submodule(head))
    if isinstance(narrow, Tensor) and not _same(narrow, full):
        raise _misaligned("", model)


def _recorder(seen: list[Tensor]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def record(_: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append(given[0])

    return record


def _among_noise(
    name: str, layer: Slimmed, narrow: list[Tensor], rng: torch.Generator
) -> Callable[[Tensor], Tensor]:
    """A forward at full width: leading channels are computed from leading channels, the others are noise."""
    turn = iter(narrow)

    def forward(input: Tensor) -> Tensor:
        wanted = next(turn, None)
        if wanted is None or wanted.ndim != input.ndim:
            raise _misaligned(name, layer)
        axis = layer.slim_axis
        wanted = wanted.narrow(axis, 0, getattr(layer, "slim_in", None) or wanted.shape[axis])
        given = input.narrow(axis, 0, min(wanted.shape[axis], input.shape[axis]))
        if not _same(wanted, given):
            raise _misaligned(name, layer)
        if isinstance(layer, SlimHeads):
            found = layer.leading(given)
            parts = found.view(*found.shape[:-1], layer.slim_parts, -1)
            return _filled(parts, -1, layer.out_features // layer.slim_parts, rng).flatten(-2)
        return _filled(layer.narrow_forward(given), axis, wide_out(layer), rng)

    return forward


def _filled(found: Tensor, axis: int, wide: int, rng: torch.Generator) -> Tensor:
    """Extend `found` to `wide` channels with noise of the same magnitude."""
    missing = list(found.shape)
    missing[axis] = wide - found.shape[axis]
    noise = _noise(found.new_empty(missing), rng) * (1 + found.abs().max())
    return torch.cat([found, noise], axis)


def _noise(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng).to(like)


def _same(wanted: Tensor, given: Tensor) -> bool:
    if wanted.shape != given.shape:
        return False
    size = float(wanted.abs().nan_to_num(0, 0, 0).max())
    return torch.allclose(wanted, given, rtol=0, atol=CLOSE * size, equal_nan=True)


def _misaligned(name: str, module: nn.Module) -> MisalignedError:
    return MisalignedError(
        f"this network cannot be slimmed: before {named(name, module)}, code mixes channels that the "
        "narrow view drops with channels that it keeps (by chunk, concatenate, shuffle, or a flatten where "
        "channels are not the first axis). The weights would be applied to channels they were not trained "
        "for."
    )
