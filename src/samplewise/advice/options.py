"""The ways of scoring that are measured: full, bfloat16, a view, and a forward that ends early."""

from typing import Any

import torch
from torch import Tensor, nn

from samplewise import recipes, views
from samplewise.advice.measuring import Measuring, Setup
from samplewise.cost.ledger import Ledger
from samplewise.data.outputs import walk
from samplewise.engine.own_method import adopt
from samplewise.loop.early import Early, check_early
from samplewise.loop.scoring import Scoring

__all__ = ["add_options"]

_TRIED = 24
"""Modules at which scoring is tried to end."""


def add_options(measuring: Measuring, at: str | None) -> dict[str, str]:
    """Let the options be measured that can be used. Returns the name of each in tables.

    Args:
        measuring: has the first batch.
        at: the module for the option `at`; None: the first that can be used.
    """
    found = {"full": "full", "bf16": "bf16"}
    measuring.add("full", Scoring())
    if not measuring.add("bf16", Scoring(dtype=torch.bfloat16)):
        del found["bf16"]
    view = _view(measuring.batch.data)
    if view is not None and measuring.add(view[0], Scoring(view=view[1])):
        found[view[0]] = view[0]
    if (name := _early(measuring, at)) is not None:
        found["at"] = f"at={name}"
    return found


def _view(data: Any) -> tuple[str, Any] | None:
    """The view that fits a batch: half of an image, or of a text."""
    tokens: list[int] = []
    images: list[str] = []

    def note(leaf: Any, path: str) -> Any:
        if isinstance(leaf, Tensor) and leaf.ndim == 4 and min(leaf.shape[2:]) >= 2:
            images.append(path)
        if isinstance(leaf, Tensor) and leaf.ndim == 2 and path.endswith("['input_ids']"):
            tokens.append(leaf.shape[1])
        return leaf

    walk(data, note)
    if images:
        return "half", _half
    if tokens and tokens[0] >= 2:
        return f"first={tokens[0] // 2}", views.first(tokens[0] // 2)
    return None


def _half(data: Any) -> Any:
    """Stored pixels are whole numbers, and their means are not."""

    def pixels(leaf: Any, path: str) -> Any:
        return leaf.float() if isinstance(leaf, Tensor) and leaf.ndim == 4 else leaf

    return views.half(walk(data, pixels))


def _early(measuring: Measuring, at: str | None) -> str | None:
    """The module at which a scoring forward ends; None if there is none."""
    setup = measuring.setup
    if at is not None:
        return at if measuring.add("at", Scoring(at=at), _head(setup, at)) else None
    if setup.labels is None and not callable(getattr(setup.forward, "targets", None)):
        measuring.unfit["at"] = "its head needs labels or forward.targets. Give labels=..."
        return None
    for name in _endings(measuring)[:_TRIED]:
        if measuring.add("at", Scoring(at=name), _head(setup, name)):
            measuring.unfit.pop("at", None)
            return name
    return None


def _head(setup: Setup, at: str) -> Early:
    engine = adopt(recipes.loss_sampling(), setup.n, 1, 0, setup.labels)
    found = check_early(at, engine, setup.model, setup.forward, setup.labels)
    return Early(Ledger(), None, at, *found, engine.policy, seed=0)


def _endings(measuring: Measuring) -> list[str]:
    """The modules in the order in which they end: blocks first, then layers with weights."""
    ended: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ended.append(name))
        for name, module in measuring.setup.model.named_modules()
        if name and _is_part(module)
    ]
    try:
        with torch.no_grad():
            measuring.outputs()
    finally:
        for hook in hooks:
            hook.remove()
    names = dict.fromkeys(ended)
    modules = dict(measuring.setup.model.named_modules())
    return sorted(names, key=lambda name: not _has_parts(modules[name]))


def _is_part(module: nn.Module) -> bool:
    return _has_parts(module) or any(True for _ in module.parameters(recurse=False))


def _has_parts(module: nn.Module) -> bool:
    return any(True for _ in module.children())
