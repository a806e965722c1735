"""Planning the narrow view: it is built and tested on a copy of the model."""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from samplewise.cost.flops import counted
from samplewise.data.outputs import Batch, walk
from samplewise.data.randomness import Drawing, Lent
from samplewise.proxy.alignment import MisalignedError, check_alignment
from samplewise.proxy.attention import SlimMultiheadAttention
from samplewise.proxy.blocks import attention_roles, block_roles
from samplewise.proxy.layers import SlimHeads, Slimmed, wide_in, wide_out
from samplewise.proxy.norms import SlimNorm, narrow_norm
from samplewise.proxy.roles import BATCH_NORMS, Role, dress, named, refuse_tied, roles_of
from samplewise.proxy.widths import Switch, fast_path

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan:
    """The changes that give a model a narrow view."""

    roles: Mapping[str, Role]
    norms: Mapping[str, int]
    """Channels of the narrow norms."""
    features: int
    """Inputs of the head in the narrow pass."""
    narrow: int
    """Number of layers that use only a part of their weights."""
    flops_share: float


def plan(model: nn.Module, head: str, width: float, multiple: int, example: Any) -> Plan:
    """Build and test the narrow view on a copy. The model and torch's random states are not changed.

    Raises:
        ValueError: if the model cannot be copied, fails on the example or cannot be slimmed.
    """
    try:
        model = copy.deepcopy(model)
    except Exception as error:
        raise ValueError(
            f"the model must work with copy.deepcopy, because the narrow view is tested on a copy: {error}"
        ) from error
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters()):
        # The check compares values, so the rounding of half precision would disturb it.
        model, example = model.float(), walk(example, _as_float)
    args, keywords = _arguments(model, example)
    with _plain_numerics(next(model.parameters()).device):
        if not any(role.kind is SlimHeads for role in attention_roles(model, width, padded=False).values()):
            return _Trial(model, head, args, keywords).plan(width, multiple)
        # Some models need all heads and fail with fewer. For these, the missing heads are filled with zeros.
        with contextlib.suppress(ValueError):
            return _Trial(copy.deepcopy(model), head, args, keywords).plan(width, multiple)
        return _Trial(model, head, args, keywords).plan(width, multiple, padded=True)


class _Trial:
    """A copy of a model that runs on an example. An error names the module in which it was raised."""

    def __init__(self, model: nn.Module, head: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.model, self.head, self.args, self.keywords = model, head, args, keywords
        self.switch = Switch()
        self.running: list[str] = []
        self.order: list[str] = []
        self.sizing = False
        self.seen: dict[str, int] = {}
        """Number of input channels of each layer in the narrow pass."""
        self.logits: list[tuple[int, ...]] = []
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._enter(name))
            module.register_forward_hook(self._leave(name))

    def plan(self, width: float, multiple: int, padded: bool = False) -> Plan:
        """Convert the layers of the copy, run the narrow pass, and check it."""
        self.run("the model", train=True)
        wanted = _shape(self.run("the model", train=False)), self.logits
        if not self.logits:
            raise ValueError(
                f"head must name a layer that the forward calls, but it does not call {self.head!r}."
            )
        if attention_roles(self.model, width, padded):
            roles = block_roles(self.model, self.head, width, multiple, padded, self.order)
        else:
            roles = roles_of(self.model, self.head, width, multiple)
        dress(self.model, roles, self.switch)
        with self.switch.narrow():
            self.sizing = True
            self._refuse_changes(lambda: self.run("the narrow pass", train=True))
            found = _shape(self.run("the narrow pass", train=False)), self.logits
            self.sizing = False
        if found != wanted:
            raise ValueError(
                f"the narrow pass must return the shapes of the full pass: {wanted[0]} for the output and "
                f"{wanted[1]} at {self.head!r}, got {found[0]} and {found[1]}. head must name the layer that "
                "returns the logits."
            )
        narrow = {name: role for name, role in roles.items() if self._is_narrower(name)}
        if width < 1 and not narrow:
            raise ValueError(f"width={width} makes no layer of the model narrower. Use a smaller width.")
        # Batch norms have running statistics, so the two widths never share one.
        roles = {n: role for n, role in roles.items() if n in narrow or role.kind in BATCH_NORMS.values()}
        refuse_tied(self.model, roles)
        sizes = {name: self._size(name) for name, role in roles.items() if issubclass(role.kind, SlimNorm)}
        features = self.seen.get(self.head, wide_in(self.model.get_submodule(self.head)))
        with self.switch.narrow():
            flops = self._flops()
        share = flops / self._flops()
        check_alignment(self.model, self.switch, self._check_run, self.head)
        return Plan(roles, sizes, features, len(narrow), share)

    def run(self, what: str, train: bool) -> Any:
        """Run the copy on the example. `what` names the run in an error."""
        self.model.train(train)
        self.running.clear()
        self.logits, self.order = [], []
        try:
            return self.model(*self.args, **self.keywords)
        except MisalignedError:
            raise
        except Exception as error:
            where = self.running[-1] if self.running else ""
            module = named(where, self.model.get_submodule(where))
            mode = "train" if train else "eval"
            raise ValueError(f"{what} fails on the example, in {mode} mode, in {module}: {error}") from error

    def _enter(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def enter(module: nn.Module, given: tuple[Any, ...]) -> None:
            self.running.append(name)
            self.order.append(name)
            if self.sizing and isinstance(module, Slimmed):
                size = given[0].shape[module.slim_axis]
                if self.seen.setdefault(name, size) != size:
                    raise ValueError(
                        f"its input must always have the same number of channels, got {self.seen[name]} "
                        f"and then {size}"
                    )
                read = getattr(module, "slim_in", None)
                if read is not None and given[0][..., read:].any():
                    raise ValueError(
                        "its input from unused heads must be zero, but is not: code before it mixes heads"
                    )
                if isinstance(module, SlimNorm) and not hasattr(module, "narrow"):
                    module.narrow = narrow_norm(module, size)

        return enter

    def _leave(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def leave(module: nn.Module, given: Any, found: Any) -> None:
            self.running.pop()
            if name == self.head:
                self.logits.append(tuple(found.shape))

        return leave

    def _refuse_changes(self, run: Callable[[], Any]) -> None:
        """Run, and raise if the buffers of a module changed."""
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        run()
        for name, buffer in self.model.named_buffers():
            if name in before and not torch.equal(before[name], buffer):
                owner, _, what = name.rpartition(".")
                module = named(owner, self.model.get_submodule(owner))
                raise ValueError(
                    f"the narrow pass must not change buffers of the full width, but it changes {what} of "
                    f"{module}."
                )

    def _size(self, name: str) -> int:
        if name not in self.seen:
            module = named(name, self.model.get_submodule(name))
            raise ValueError(
                f"the example must pass through every norm, but it does not reach {module}. Its narrow "
                "width is unknown. Use another example."
            )
        return self.seen[name]

    def _is_narrower(self, name: str) -> bool:
        layer: Any = self.model.get_submodule(name)
        if isinstance(layer, SlimMultiheadAttention):
            return bool(layer.slim_heads < layer.num_heads)
        read = getattr(layer, "slim_in", None) or self.seen.get(name, wide_in(layer))
        given = getattr(layer, "slim_out", wide_out(layer)) * getattr(layer, "slim_parts", 1)
        return bool(read < wide_in(layer) or given < wide_out(layer))

    def _check_run(self) -> Any:
        return self.run("the check of the channels", train=False)

    def _flops(self) -> int:
        return counted(lambda: self.run("the count of FLOPs", train=False))[1]


@contextlib.contextmanager
def _plain_numerics(device: torch.device) -> Iterator[None]:
    """Run without gradients, autocast and fused attention (its FLOPs are not counted). Keep random states."""
    kind = device.type if device.type != "meta" else "cpu"
    random = Lent(device).window(Drawing())
    cast = torch.autocast(kind, enabled=False)
    with random, torch.no_grad(), cast, sdpa_kernel(SDPBackend.MATH), fast_path(off=True):
        yield


def _shape(output: Any) -> tuple[int, ...] | None:
    """The shape of the logits in the output of a model, or None."""
    logits = getattr(output, "logits", output)
    return tuple(logits.shape) if isinstance(logits, Tensor) else None


def _as_float(leaf: Any, path: str) -> Any:
    half = isinstance(leaf, Tensor) and leaf.dtype in (torch.float16, torch.bfloat16)
    return leaf.float() if half else leaf


def _arguments(model: nn.Module, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and keyword arguments for the model that the example stands for."""
    if isinstance(example, Batch):
        example = example.data
    if isinstance(example, Mapping):
        return (), dict(example)
    if not isinstance(example, tuple | list):
        return (example,), {}
    try:
        inspect.signature(model.forward).bind(*example)
    except TypeError:
        if len(example) == 2:
            return (example[0],), {}
    return tuple(example), {}
