"""Checking that a checkpoint fits a run, before it is loaded."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from samplewise.checks import Range

__all__ = ["refuse_foreign", "refuse_misplaced"]

PARTS = ("model", "optimizer", "selector", "random", "step", "done", "cpu", "curve", "best")
_OF_A_PARAMETER = {"SGD": {"momentum_buffer"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"}}


def refuse_foreign(state: Any, model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    """Raise if a part is missing, the model or optimizer does not fit, or a count is out of range."""
    if not isinstance(state, dict) or set(state) != set(PARTS):
        raise ValueError(f"it must hold exactly {', '.join(PARTS)}")
    _number("step", state["step"], int, Range(0))
    _number("done", state["done"], int, Range(0, epochs))
    _number("cpu", state["cpu"], float, Range(0))
    _same_tensors("model", state["model"], model.state_dict())
    _optimizer(state["optimizer"], optimizer)


def refuse_misplaced(state: Mapping[str, Any], position: Mapping[str, int]) -> None:
    """Raise if the position of the loaded selector differs from the counts in the checkpoint."""
    if position["epoch"] != state["done"] or (position["done"] > 0) != (state["step"] > 0):
        raise ValueError(
            f"its selector must be at epoch {state['done']}, step {state['step']}, but is in epoch "
            f"{position['epoch']} after {position['done']} samples"
        )


def _number(what: str, value: Any, kind: type, limits: Range) -> None:
    if type(value) not in (int, kind) or value not in limits:
        raise ValueError(f"{what} must be {limits}, got {value!r}")


def _optimizer(state: Any, mine: torch.optim.Optimizer) -> None:
    groups = mine.state_dict()["param_groups"]
    stored = state["param_groups"]
    for group, here in zip(stored, groups, strict=True):
        for name, value in here.items():
            if name == "lr":
                _number("the optimizer's lr", group[name], float, Range(0))
            elif name in group and group[name] != value:
                raise ValueError(f"the optimizer's {name} must be {value!r}, got {group[name]!r}")
    parameters = [parameter for group in mine.param_groups for parameter in group["params"]]
    for place, held in state["state"].items():
        if place not in range(len(parameters)):
            raise ValueError(
                f"the optimizer's state must be of its {len(parameters)} parameters, got one of {place!r}"
            )
        if set(held) != (entries := _OF_A_PARAMETER[type(mine).__name__]):
            raise ValueError(
                f"the optimizer's state of parameter {place} must hold {sorted(entries)}, got {sorted(held)}"
            )
        like = {name: torch.zeros(()) if name == "step" else parameters[place] for name in held}
        _same_tensors(f"optimizer, parameter {place}", held, like)
        for name in {"step", "exp_avg_sq"} & set(held):
            if bool((held[name] < 0).any()):
                raise ValueError(f"the optimizer's {name} of parameter {place} must be >= 0")


def _same_tensors(what: str, stored: Any, mine: Mapping[str, Any]) -> None:
    if not isinstance(stored, Mapping) or set(stored) != set(mine):
        raise ValueError(f"{what} must hold {', '.join(mine)}")
    for name, tensor in mine.items():
        other = stored[name]
        if not isinstance(tensor, Tensor):  # extra state of a module; the module checks it itself
            continue
        if not isinstance(other, Tensor):
            raise ValueError(f"{what}: {name} must be a tensor, got {type(other).__name__}")
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise ValueError(
                f"{what}: {name} must be {tuple(tensor.shape)} of {tensor.dtype}, "
                f"got {tuple(other.shape)} of {other.dtype}"
            )
        if bool(tensor.isfinite().all()) and not bool(other.isfinite().all()):
            raise ValueError(f"{what}: {name} must be finite")
