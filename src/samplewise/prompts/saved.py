"""The saved state of a `PromptSelector`, and the checks before anything is loaded from one."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from samplewise.checks import Range
from samplewise.data.declared import Column, Fields, Maybe, Number, refuse_misfit
from samplewise.data.ids import first_of_each
from samplewise.prompts.groups import OpenStep
from samplewise.prompts.ledger import PromptLedger

__all__ = ["open_step", "refuse_damaged", "state_of"]

_COUNT = Number(Range(0), whole=True)
_GROUPS = ("passes", "rollouts", "low", "high")


def state_of(opened: OpenStep) -> dict[str, Any]:
    """What is saved of the open step. All processes must know the same."""
    columns = zip(_GROUPS, opened.known.columns, strict=True)
    return {"step": opened.step, "rounds": opened.rounds, "ids": opened.ids.clone()} | {
        name: column.clone() for name, column in columns
    }


def open_step(state: Mapping[str, Any]) -> OpenStep:
    """The open step of a state."""
    made = OpenStep(state["step"], state["ids"].clone(), state["rounds"])
    rows: Any = torch.arange(len(made.ids))
    made.known.add(rows, [state[name] for name in _GROUPS])
    return made


def refuse_damaged(state: Any, mine: str, n: int, batch_size: int) -> None:
    """Raise a ValueError unless `state` is whole and of the selector whose repr is `mine`."""
    if not isinstance(state, Mapping) or "selector" not in state:
        raise ValueError("this is not a PromptSelector's state. Give what state_dict() returned.")
    if state["selector"] != mine:
        raise ValueError(
            f"the state is of {state['selector']}, but this is {mine}. Build the PromptSelector with the "
            "settings of the saved one."
        )
    counts = Column((torch.float32,), (n,), 0)
    opened = {
        "step": _COUNT,
        "rounds": Number(Range(1), whole=True),
        "ids": Column((torch.int64,), (None,), 0, n - 1),
        "passes": Column((torch.int64,), (None,), 0),
        "rollouts": Column((torch.int64,), (None,), 0),
        "low": Column((torch.float64,), (None,)),
        "high": Column((torch.float64,), (None,)),
    }
    form = {
        "passes": counts,
        "fails": counts,
        "times_selected": Column((torch.int32,), (n,), 0),
        "open": Maybe(Fields(opened)),
        "ledger": Fields({field.name: _COUNT for field in fields(PromptLedger)}),
    }
    refuse_misfit("the state is damaged: state", state, Fields(form))
    if (found := state["open"]) is not None:
        lengths = {len(found[name]) for name in ("ids", *_GROUPS)}
        if len(lengths) > 1 or len(first_of_each(found["ids"])) < max(batch_size, *lengths):
            raise ValueError(
                f"the state is damaged: state['open'] must hold at least {batch_size} different ids and one "
                f"row of rewards for each, got columns of {sorted(lengths)} rows."
            )
