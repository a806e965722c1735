"""Roles in networks with attention: fewer heads, narrower feed-forward layers, an unchanged residual."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from torch import nn

from samplewise.proxy.attention import SlimMultiheadAttention
from samplewise.proxy.layers import SlimHeads, SlimLinear, wide_out
from samplewise.proxy.roles import NORMS, Role, is_plain, named, refuse_empty, refuse_strange
from samplewise.proxy.widths import channels

__all__ = ["attention_roles", "block_roles"]

TRIPLES = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"),
    ("q", "k", "v"),
)
FUSED = ("qkv", "to_qkv", "qkv_proj", "in_proj")
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
HEAD_SIZES = ("head_dim", "attention_head_size", "dim_head")


def block_roles(
    model: nn.Module, head: str, width: float, multiple: int, padded: bool, order: Sequence[str]
) -> dict[str, Role]:
    """Return the roles of layers in a network with attention. Layers without a role keep their width.

    Args:
        model: the network.
        head: the name of its last layer.
        width: the share of heads and inner channels to keep.
        multiple: the number of inner channels is a multiple of this.
        padded: whether the model's code needs all heads, see `SlimHeads`.
        order: names of modules in the order in which a forward ran them.

    Raises:
        ValueError: if a block would keep no head or no inner channel.
    """
    layers = dict(model.named_modules())
    found = attention_roles(model, width, padded)
    for name, role in found.items():
        if role.kind is SlimHeads:
            refuse_strange(name, layers[name])
    linear = [name for name in order if type(layers[name]) is nn.Linear and name != head]
    outward = {b: _share(layers[a], found[a]) for a, b in pairwise(linear) if a in found and b not in found}
    inner = set(_inner(linear, layers, {*found, *outward}))
    for name, layer in layers.items():
        if name in found or name == head or not is_plain(layer):
            continue
        if isinstance(layer, nn.Linear) and type(layer) is nn.Linear:
            kept = channels(layer.out_features, width, multiple) if name in inner else layer.out_features
            read = round(layer.in_features * outward[name]) if padded and name in outward else None
            found[name] = Role(SlimLinear, {"slim_out": kept, "slim_in": read})
        elif type(layer) in NORMS:
            found[name] = Role(NORMS[type(layer)])
    refuse_empty(model, found, width)
    return found


def attention_roles(model: nn.Module, width: float, padded: bool) -> dict[str, Role]:
    """Return the roles of attention layers of a known form. Without any, the result is empty."""
    return dict(_attention(model, width, padded))


def _attention(model: nn.Module, width: float, padded: bool) -> Iterator[tuple[str, Role]]:
    for name, module in model.named_modules():
        if type(module) is nn.MultiheadAttention:
            if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
                raise ValueError(
                    f"{named(name, module)} cannot be slimmed: its keys or values have another width, or "
                    "it has bias_k or add_zero_attn."
                )
            yield name, Role(SlimMultiheadAttention, {"slim_heads": channels(module.num_heads, width)})
        else:
            yield from _projections(name, module, width, padded)


def _projections(name: str, module: nn.Module, width: float, padded: bool) -> Iterator[tuple[str, Role]]:
    """Yield the roles of the query, key and value projections in the user's own attention modules."""
    children = {child: layer for child, layer in module.named_children() if type(layer) is nn.Linear}
    prefix = f"{name}." if name else ""

    def role(child: str, parts: int, rows: int) -> tuple[str, Role]:
        return prefix + child, Role(SlimHeads, {"slim_out": rows, "slim_parts": parts, "slim_padded": padded})

    for triple in TRIPLES:
        if all(child in children for child in triple):
            q, k, v = (children[child].out_features for child in triple)
            size = _head_size(module, q)
            if size and k == v and not k % size and not q % k:
                rows = channels(k // size, width) * size
                # In grouped-query attention, one key is shared by several adjacent query heads.
                yield from (
                    role(child, 1, r) for child, r in zip(triple, (rows * (q // k), rows, rows), strict=True)
                )
    for child in FUSED:
        if child in children and not children[child].out_features % 3:
            rows = children[child].out_features // 3
            if size := _head_size(module, rows):
                yield role(child, 3, channels(rows // size, width) * size)


def _head_size(module: nn.Module, rows: int) -> int:
    """Return the number of channels per head, or 0 if no attribute of the module gives it."""
    for name in HEADS:
        heads = getattr(module, name, None)
        if isinstance(heads, int) and heads > 0 and not rows % heads:
            return rows // heads
    for name in HEAD_SIZES:
        size = getattr(module, name, None)
        if isinstance(size, int) and size > 0 and not rows % size:
            return size
    return 0


def _share(layer: nn.Module, role: Role) -> float:
    """The share of heads that the role keeps."""
    return float(role.settings["slim_out"] * role.settings["slim_parts"] / wide_out(layer))


def _inner(order: Sequence[str], layers: Mapping[str, nn.Module], attention: set[str]) -> Iterator[str]:
    """Yield the first layer of each feed-forward block: it maps d to k, and a later one maps k back to d."""
    taken = set(attention)
    for i, name in enumerate(order):
        down = layers[name]
        if name in taken:
            continue
        for before in reversed(order[:i]):
            up = layers[before]
            if before in taken or (up.in_features, up.out_features) != (down.out_features, down.in_features):
                break
            taken |= {before, name}
            yield before
            if down.in_features == down.out_features:
                break
