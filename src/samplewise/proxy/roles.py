"""The role of each layer in the narrow view. A module without a narrow form raises an error with its name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from samplewise.proxy.layers import SlimConv1d, SlimConv2d, SlimLinear, Slimmed
from samplewise.proxy.norms import (
    SlimBatchNorm1d,
    SlimBatchNorm2d,
    SlimGroupNorm,
    SlimLayerNorm,
    SlimNorm,
    SlimSyncBatchNorm,
)
from samplewise.proxy.widths import Switch, channels

__all__ = [
    "BATCH_NORMS",
    "NORMS",
    "Role",
    "dress",
    "is_plain",
    "named",
    "norms_of",
    "refuse_empty",
    "refuse_strange",
    "refuse_tied",
    "roles_of",
]

BATCH_NORMS: Mapping[type[nn.Module], type[Slimmed]] = MappingProxyType(
    {
        nn.BatchNorm1d: SlimBatchNorm1d,
        nn.BatchNorm2d: SlimBatchNorm2d,
        nn.SyncBatchNorm: SlimSyncBatchNorm,
    }
)
NORMS: Mapping[type[nn.Module], type[Slimmed]] = MappingProxyType(
    {**BATCH_NORMS, nn.LayerNorm: SlimLayerNorm, nn.GroupNorm: SlimGroupNorm}
)
CONVOLUTIONS: Mapping[type[nn.Module], type[Slimmed]] = MappingProxyType(
    {nn.Conv1d: SlimConv1d, nn.Conv2d: SlimConv2d}
)
AS_THEY_ARE = (nn.Embedding, nn.EmbeddingBag)
"""Layers with parameters that keep their width. The next layer uses their whole output."""


@dataclass(frozen=True)
class Role:
    """The new class of a layer, and the settings of its narrow form."""

    kind: type[nn.Module]
    settings: Mapping[str, Any] = field(default_factory=dict)


def named(name: str, module: nn.Module) -> str:
    """The text for a module in an error.

    >>> named("layers.1", nn.LSTM(2, 3))
    "'layers.1' (LSTM)"
    """
    kinds = (kind for kind in type(module).__mro__ if not kind.__module__.startswith("samplewise.proxy"))
    return f"{repr(name) if name else 'the model'} ({next(kinds).__name__})"


def roles_of(model: nn.Module, head: str, width: float, multiple: int) -> dict[str, Role]:
    """Return the role of every layer with parameters in a network without attention, where all layers narrow.

    Raises:
        ValueError: if a module has no narrow form, or a layer would keep no channel.
    """
    found = dict(_roles(model, head, width, multiple))
    for name in found:
        refuse_strange(name, model.get_submodule(name))
    refuse_empty(model, found, width)
    return found


def refuse_empty(model: nn.Module, roles: Mapping[str, Role], width: float) -> None:
    """Raise if a layer would keep no channel or no head at this width."""
    for name, role in roles.items():
        for setting, what in (("slim_out", "channel"), ("slim_heads", "head")):
            if role.settings.get(setting) == 0:
                raise ValueError(
                    f"width={width} leaves no {what} of {named(name, model.get_submodule(name))}. Use a "
                    "larger width."
                )


def _roles(model: nn.Module, head: str, width: float, multiple: int) -> Iterator[tuple[str, Role]]:
    kept = partial(channels, width=width, multiple=multiple)
    for name, module in model.named_modules():
        kind = type(module)
        if name == head:
            yield name, Role(SlimLinear, {"slim_out": module.out_features})
        elif kind is nn.Linear:
            yield name, Role(SlimLinear, {"slim_out": kept(module.out_features)})
        elif kind in CONVOLUTIONS:
            yield name, Role(CONVOLUTIONS[kind], {"slim_out": kept(module.out_channels)})
        elif kind in NORMS:
            yield name, Role(NORMS[kind])
        elif not _needs_no_role(module):
            raise ValueError(
                f"{named(name, module)} has parameters or statistics without a narrow form. The proxy can "
                "slim Linear, Conv1d, Conv2d, BatchNorm1d, BatchNorm2d, SyncBatchNorm, LayerNorm, "
                "GroupNorm and attention blocks, but not their subclasses."
            )


def _needs_no_role(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return False  # instance norms have running statistics, even without parameters
    one = isinstance(module, nn.PReLU) and module.num_parameters == 1
    return one or type(module) in AS_THEY_ARE or not any(True for _ in module.parameters(recurse=False))


def is_plain(module: nn.Module) -> bool:
    """Return whether a layer has the forward and the parameters of its class, without changes."""
    return not _strangeness(module)


def refuse_strange(name: str, module: nn.Module) -> None:
    """Raise if a layer has another forward or other parameters than its class. The error says which."""
    if why := _strangeness(module):
        raise ValueError(f"{named(name, module)} cannot be slimmed: {why}.")


def _strangeness(module: nn.Module) -> str:
    if parametrize.is_parametrized(module) or set(module._parameters) != {"weight", "bias"}:
        held = ", ".join(name for name, _ in module.named_parameters())
        return f"its weight is computed from other parameters ({held}). Remove the parametrization first"
    if "forward" in vars(module):
        return "its forward was replaced. Restore it first"
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
        return f"it must normalise one axis, but it normalises {len(module.normalized_shape)}"
    return ""


def refuse_tied(model: nn.Module, roles: Iterable[str]) -> None:
    """Raise if a slimmed layer shares a parameter with another module."""
    owners: dict[nn.Parameter, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter, []).append(name)
    for names in owners.values():
        if len(names) > 1 and (slimmed := set(names) & set(roles)):
            first = min(slimmed)
            others = ", ".join(named(name, model.get_submodule(name)) for name in names if name != first)
            raise ValueError(
                f"{named(first, model.get_submodule(first))} cannot be slimmed: it shares a parameter with "
                f"{others}."
            )


def dress(model: nn.Module, roles: Mapping[str, Role], switch: Switch) -> None:
    """Convert the layers to their new classes, in place."""
    for name, role in roles.items():
        layer = model.get_submodule(name)
        layer.__class__ = role.kind
        vars(layer).update(role.settings, slim_switch=switch)


def norms_of(model: nn.Module) -> dict[str, SlimNorm]:
    """The norms that contain a narrow norm, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, SlimNorm)}
