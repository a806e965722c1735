"""Which layer of a network does what in its narrow view; what has no narrow form is refused by name."""

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
"""Layers with parameters that stay as wide as they are: the next layer reads all they give."""


@dataclass(frozen=True)
class Role:
    """The class a layer becomes, and the settings of its narrow form."""

    kind: type[nn.Module]
    settings: Mapping[str, Any] = field(default_factory=dict)


def named(name: str, module: nn.Module) -> str:
    """How errors call a module.

    >>> named("layers.1", nn.LSTM(2, 3))
    "'layers.1' (LSTM)"
    """
    kinds = (kind for kind in type(module).__mro__ if not kind.__module__.startswith("samplewise.proxy"))
    return f"{repr(name) if name else 'the model'} ({next(kinds).__name__})"


def roles_of(model: nn.Module, head: str, width: float, multiple: int) -> dict[str, Role]:
    """The role of every layer with parameters in a network whose channels all become fewer.

    Raises:
        ValueError: for a module without a narrow form, and for a layer that would keep no channel.
    """
    found = dict(_roles(model, head, width, multiple))
    for name in found:
        refuse_strange(name, model.get_submodule(name))
    refuse_empty(model, found, width)
    return found


def refuse_empty(model: nn.Module, roles: Mapping[str, Role], width: float) -> None:
    """Refuse a width at which a layer keeps no channel or no head."""
    for name, role in roles.items():
        for setting, what in (("slim_out", "channel"), ("slim_heads", "head")):
            if role.settings.get(setting) == 0:
                raise ValueError(
                    f"width={width} leaves no {what} of {named(name, model.get_submodule(name))}."
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
                f"{named(name, module)} has parameters or statistics that have no narrow form. "
                "The proxy slims Linear, Conv1d, Conv2d, BatchNorm1d, BatchNorm2d, SyncBatchNorm, LayerNorm, "
                "GroupNorm and attention blocks, and none of their subclasses."
            )


def _needs_no_role(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return False  # instance norms move statistics without having parameters
    one = isinstance(module, nn.PReLU) and module.num_parameters == 1
    return one or type(module) in AS_THEY_ARE or not any(True for _ in module.parameters(recurse=False))


def is_plain(module: nn.Module) -> bool:
    """Whether a layer computes what its class does from parameters that it holds itself."""
    return not _strangeness(module)


def refuse_strange(name: str, module: nn.Module) -> None:
    """Refuse a layer that computes anything else than its class does, saying what."""
    if why := _strangeness(module):
        raise ValueError(f"{named(name, module)} cannot be slimmed: {why}.")


def _strangeness(module: nn.Module) -> str:
    if parametrize.is_parametrized(module) or set(module._parameters) != {"weight", "bias"}:
        held = ", ".join(name for name, _ in module.named_parameters())
        return f"its weight is computed from others ({held}); undo this first"
    if "forward" in vars(module):
        return "its forward was replaced; put it back first"
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
        return f"it normalises {len(module.normalized_shape)} axes, and only norms over one are slimmed"
    return ""


def refuse_tied(model: nn.Module, roles: Iterable[str]) -> None:
    """Refuse a slimmed layer that shares a parameter with another module."""
    owners: dict[nn.Parameter, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter, []).append(name)
    for names in owners.values():
        if len(names) > 1 and (slimmed := set(names) & set(roles)):
            first = min(slimmed)
            others = ", ".join(named(name, model.get_submodule(name)) for name in names if name != first)
            raise ValueError(
                f"{named(first, model.get_submodule(first))} shares a parameter with {others}: tied layers "
                "cannot be slimmed."
            )


def dress(model: nn.Module, roles: Mapping[str, Role], switch: Switch) -> None:
    """Give the layers their narrow form, in place."""
    for name, role in roles.items():
        layer = model.get_submodule(name)
        layer.__class__ = role.kind
        vars(layer).update(role.settings, slim_switch=switch)


def norms_of(model: nn.Module) -> dict[str, SlimNorm]:
    """The norms of two widths, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, SlimNorm)}
