"""The gradient norm of every sample, over all of a model's parameters."""

import contextlib
import textwrap
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from samplewise.checks import warn
from samplewise.data.layout import Layout
from samplewise.data.outputs import as_outputs, walk
from samplewise.data.randomness import Lent, drawing_of

__all__ = ["norms", "norms_and_losses"]

Forward = Callable[[Any], Any]
Found = tuple[Tensor, Tensor]  # squared norms and losses

_refused: "WeakSet[nn.Module]" = WeakSet()
"""Models whose forward `vmap` refused. They are not tried again, and there is no second warning."""


class _Caller(nn.Module):
    """Holds the model, so that `functional_call` can swap its parameters while the user's forward runs."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model = model
        self.given = forward

    def forward(self, data: Any) -> Any:
        return self.given(data)


def norms(
    model: nn.Module, forward: Forward, data: Any, b: int, chunk: int = 16, layout: Layout | None = None
) -> Float[Tensor, " b"]:
    """The norm of each sample's gradient, as `norms_and_losses` gives it."""
    return norms_and_losses(model, forward, data, b, chunk, layout)[0]


def norms_and_losses(
    model: nn.Module, forward: Forward, data: Any, b: int, chunk: int = 16, layout: Layout | None = None
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """The norm of the gradient of each sample's loss over all parameters that require grad, and the loss.

    Every sample goes through `forward` as a batch of 1. `torch.func.vmap` runs `chunk` samples at once and
    holds `chunk` gradients of the model's size. If vmap refuses the forward (because it reads a value into
    Python, for example), the samples run one by one, with one warning for each model. The caller sets the
    mode (train or eval). Gradients, flags, buffers and torch's random state do not change. Autocast is off
    inside: norms are in the precision of the parameters.

    Args:
        model: the module whose parameters `forward` uses.
        forward: from a batch to per-sample losses, or to `Outputs`.
        data: a batch of b samples, as `samplewise.data.layout` understands it.
        b: number of samples.
        chunk: number of samples that run at once.
        layout: which parts of the batch hold one item a row.

    Raises:
        ValueError: if no parameter requires a gradient.
    """
    caller = _Caller(model, forward)
    given = {name: p.detach() for name, p in caller.named_parameters() if p.requires_grad}
    if not given:
        raise ValueError("gradient norms need a model with parameters that require gradients, but none does.")
    device = next(iter(given.values())).device
    found, picks = [], Layout() if layout is None else layout
    with _undisturbed(model, device):
        for start in range(0, b, chunk):
            singles = [picks.take(data, torch.tensor([i]), b) for i in range(start, min(start + chunk, b))]
            found.append(_of_chunk(caller, given, singles))
    if not found:
        return torch.empty(0, device=device), torch.empty(0, device=device)
    squares, losses = (torch.cat(parts) for parts in zip(*found, strict=True))
    return squares.sqrt().float(), losses.float()


@contextlib.contextmanager
def _undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Turn gradients on, and autocast and the exchange of gradients off; restore the random state.

    Unscaled gradients in half precision underflow, and vmap refuses some layers under autocast. The cache of
    autocast is off too: a forward that casts by itself would keep a copy of every weight swapped in.
    """
    kind = device.type if device.type != "meta" else "cpu"
    quiet: Any = getattr(model, "no_sync", contextlib.nullcontext)
    cast = torch.autocast(kind, enabled=False, cache_enabled=False)
    random = Lent(device).window(drawing_of(model, "gradient norms"))
    with random, quiet(), torch.enable_grad(), cast:
        yield


def _of_chunk(caller: _Caller, given: dict[str, Tensor], singles: list[Any]) -> Found:
    if caller.model in _refused:
        return _one_by_one(caller, given, singles)
    try:
        return _at_once(caller, given, singles)
    except Exception as error:
        found = _one_by_one(caller, given, singles)  # raises what is wrong with the forward itself
        _refused.add(caller.model)
        reason = textwrap.shorten(str(error), 120, placeholder="...")
        warn(
            f"torch.func.vmap refuses this forward ({reason}), so gradient norms are computed sample by "
            "sample, which is slower."
        )
        return found


def _at_once(caller: _Caller, given: dict[str, Tensor], singles: list[Any]) -> Found:
    leaves = [_leaves(single) for single in singles]
    stacked: list[Any] = []
    for values in zip(*leaves, strict=True):
        if isinstance(values[0], Tensor):
            stacked.append(torch.stack(values))
        elif all(value is values[0] or value == values[0] for value in values):
            stacked.append(values[0])
        else:
            raise TypeError(f"samples differ in a {type(values[0]).__name__}, not only in tensors")

    def loss(params: dict[str, Tensor], own: list[Any]) -> Tensor:
        fresh = iter(own)
        return _loss(caller, params, walk(singles[0], lambda leaf, path: next(fresh)))

    def square(own: list[Any]) -> Found:
        grads, value = grad_and_value(loss)(given, own)
        return _square(grads.values()), value

    axes = [0 if isinstance(value, Tensor) else None for value in stacked]
    found: Found = vmap(square, in_dims=(axes,), randomness="different")(stacked)
    return found


def _one_by_one(caller: _Caller, given: dict[str, Tensor], singles: list[Any]) -> Found:
    found, losses = [], []
    for single in singles:
        params = {name: p.detach().requires_grad_() for name, p in given.items()}
        loss = _loss(caller, params, single)
        grads: Any = ()
        if loss.requires_grad:
            grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        found.append(_square(g for g in grads if g is not None).to(loss.device))
        losses.append(loss.detach())
    return torch.stack(found), torch.stack(losses)


def _loss(caller: _Caller, params: dict[str, Tensor], single: Any) -> Tensor:
    buffers = {name: buffer.clone() for name, buffer in caller.named_buffers()}
    returned = functional_call(caller, (params, buffers), (single,))
    return as_outputs(returned, 1).loss.squeeze(0)


def _square(grads: Any) -> Tensor:
    parts = [g.square().sum() if g.dtype == torch.float64 else g.float().square().sum() for g in grads]
    return torch.stack(parts).sum() if parts else torch.zeros(())


def _leaves(single: Any) -> list[Any]:
    found: list[Any] = []
    walk(single, lambda leaf, path: found.append(leaf))
    return found
