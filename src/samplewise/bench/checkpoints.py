"""Whether this run could have written what a checkpoint holds, asked before any of it is taken over."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from samplewise.checks import Range

__all__ = ["refuse_foreign", "refuse_misplaced"]

PARTS = ("model", "optimizer", "selector", "random", "step", "done", "cpu", "curve")
_OF_A_PARAMETER = {"SGD": {"momentum_buffer"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"}}


def refuse_foreign(state: Any, model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    """Raise unless the parts are there and model, optimizer and counts are in their ranges."""
    if not isinstance(state, dict) or set(state) != set(PARTS):
        raise ValueError(f"it must hold {', '.join(PARTS)}")
    _number("step", state["step"], int, Range(0))
    _number("done", state["done"], int, Range(0, epochs))
    _number("cpu", state["cpu"], float, Range(0))
    _same_tensors("model", state["model"], model.state_dict())
    _optimizer(state["optimizer"], optimizer)


def refuse_misplaced(state: Mapping[str, Any], position: Mapping[str, int]) -> None:
    """Raise unless the selector, which was put back, stands where the counts say."""
    if position["epoch"] != state["done"] or (position["done"] > 0) != (state["step"] > 0):
        raise ValueError(
            f"{state['done']} epochs and {state['step']} steps are done, but the selector is in epoch "
            f"{position['epoch']} after {position['done']} samples"
        )


def _number(what: str, value: Any, kind: type, limits: Range) -> None:
    if type(value) not in (int, kind) or value not in limits:
        raise ValueError(f"{what} must be {limits}, got {value!r}")


def _optimizer(state: Any, mine: torch.optim.Optimizer) -> None:
    groups = mine.state_dict()["param_groups"]
    told = state["param_groups"]
    for group, here in zip(told, groups, strict=True):
        for name, value in here.items():
            if name == "lr":
                _number("the optimizer's lr", group[name], float, Range(0))
            elif name in group and group[name] != value:
                raise ValueError(f"the optimizer's {name} must be {value!r}, got {group[name]!r}")
    parameters = [parameter for group in mine.param_groups for parameter in group["params"]]
    for place, held in state["state"].items():
        if place not in range(len(parameters)):
            raise ValueError(f"the optimizer has no parameter {place!r}")
        if set(held) != _OF_A_PARAMETER[type(mine).__name__]:
            raise ValueError(f"the optimizer's state of parameter {place} has {sorted(held)}")
        like = {name: torch.zeros(()) if name == "step" else parameters[place] for name in held}
        _same_tensors(f"optimizer, parameter {place}", held, like)
        for name in {"step", "exp_avg_sq"} & set(held):
            if bool((held[name] < 0).any()):
                raise ValueError(f"the optimizer's {name} of parameter {place} is below 0")


def _same_tensors(what: str, told: Any, mine: Mapping[str, Any]) -> None:
    if not isinstance(told, Mapping) or set(told) != set(mine):
        raise ValueError(f"{what} must hold {', '.join(mine)}")
    for name, tensor in mine.items():
        other = told[name]
        if not isinstance(tensor, Tensor):  # a module's own extra state, which is its own business
            continue
        if not isinstance(other, Tensor):
            raise ValueError(f"{what}: {name} must be a tensor, got {type(other).__name__}")
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise ValueError(
                f"{what}: {name} must be {tuple(tensor.shape)} of {tensor.dtype}, "
                f"got {tuple(other.shape)} of {other.dtype}"
            )
        if bool(tensor.isfinite().all()) and not bool(other.isfinite().all()):
            raise ValueError(f"{what}: {name} is not finite")
