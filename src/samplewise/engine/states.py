"""Checks that a saved state is whole and belongs here, before anything is loaded from it.

Each part of a state has a declared `Form`. The form of a memory follows from the columns that the trackers
declare.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from samplewise import trackers
from samplewise.checks import Range
from samplewise.coresets.history import SelectionHistory
from samplewise.data.declared import (
    Column,
    Fields,
    Form,
    Is,
    Items,
    Maybe,
    Named,
    Number,
    OneOf,
    refuse_misfit,
)
from samplewise.data.outputs import Outputs
from samplewise.engine.compact import form_of_bits, plan_from
from samplewise.engine.levels import measured, memory_of
from samplewise.policy import Policy
from samplewise.signals import measure
from samplewise.trackers.levels import BATCH, EPOCH

__all__ = ["refuse_damaged"]

_OWNER = ("policy", "n", "seed")
_WHAT = "the state is damaged: state"
_COUNT = Number(Range(0), whole=True)
_LATER = ("tokens", "tokens_trained", "prior_flops", "trained_before", "ordinary_before", "energy_joules")
"""Counts of the ledger that a state of an earlier version has not."""
_ANY = 7
"""The number of classes and features of the made-up outputs. A column of this width may have any width."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_WHOLES = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


def refuse_damaged(
    state: Any,
    mine: Mapping[str, Any],
    policy: Policy,
    epochs: int,
    scoring: Mapping[str, Form] | None = None,
    gate: Form | None = None,
) -> None:
    """Raise unless `state` is one that a selector whose own state is `mine` can continue from.

    Args:
        state: what was loaded.
        mine: the state of the selector that continues.
        policy: of that selector.
        epochs: of that selector.
        scoring: the form of each entry of `state["scoring"]`, if scoring saves something.
        gate: the form of `state["gate"]`, if there is a gate.
    """
    for name in _OWNER:
        if not isinstance(state, Mapping) or name not in state:
            raise ValueError(
                f"this is not a Selector's state: it has no {name!r}. Give what state_dict() returned."
            )
        if state[name] != mine[name]:
            raise ValueError(
                f"the state is of {name}={state[name]}, but this Selector has {name}={mine[name]}. Build the "
                "Selector with the settings of the saved one."
            )
    if "history" in mine["engine"] and "history" not in state.get("engine", ()):
        raise ValueError(
            "the state has no history of selections: the saved Selector did not keep one. Build this one "
            "without history=True."
        )
    if ("bits" in mine["engine"]) != ("bits" in state.get("engine", ())):
        saved, new = ("compact=False", "compact=True")[:: -1 if "bits" in state.get("engine", ()) else 1]
        raise ValueError(
            f"the state is of {saved}, but this Selector has {new}. Give Selector({saved}): the order of the "
            "samples differs."
        )
    if ("scoring" in mine) != ("scoring" in state):
        lacks = "saved" if "scoring" in mine else "new"
        raise ValueError(
            f"the {lacks} Selector trains nothing that scores, but the other one does. Give both the same "
            "sw.Scoring(...)."
        )
    if ("gate" in mine) != ("gate" in state):
        has, lacks = ("new", "saved") if "gate" in mine else ("saved", "new")
        raise ValueError(f"the {has} Selector has a gate and the {lacks} one has none. Give both gate=....")
    for name in _missing(state, mine):
        raise ValueError(f"the state is damaged: it has no {name!r}.")
    n = int(mine["n"])
    refuse_misfit(_WHAT, state, _selector(mine, n, epochs, scoring or {}))
    if gate is not None:
        refuse_misfit(f"{_WHAT}['gate']", state["gate"], gate)
    engine = state["engine"]
    plan = engine.get("bits", engine["ids"])
    if engine["opened"] and (plan is None or engine["planned_in"] != engine["epoch"]):
        raise ValueError(f"{_WHAT}['engine'] must hold the plan of the open epoch {engine['epoch']}.")
    if plan is not None:
        try:
            plan_from(n, engine)
        except ValueError as error:
            raise ValueError(f"the state is damaged: its plan is wrong: {error}") from error
    if "history" in mine["engine"]:
        SelectionHistory.from_state(n, engine["history"])
    _refuse_memory(engine, policy, n, epochs)


def _missing(state: Any, mine: Mapping[str, Any]) -> Iterator[str]:
    for name, value in mine.items():
        if not isinstance(state, Mapping) or (name not in state and name not in _LATER):
            yield name
        elif isinstance(value, Mapping) and name not in ("memory", "method", "scoring", "gate", "carried"):
            yield from _missing(state[name], value)


def _selector(mine: Mapping[str, Any], n: int, epochs: int, scoring: Mapping[str, Form]) -> Form:
    """The form of everything that a Selector saves, without the tracker's memory."""
    waits = Items(Number(Range(0, n - 1), whole=True))
    engine = {
        "epoch": Number(Range(0, epochs), whole=True),
        "step": _COUNT,
        "opened": Is(bool),
        "planned_in": Number(Range(-1, epochs - 1), whole=True),
        "selected_in": Number(Range(-1, epochs), whole=True),
        "ids": Maybe(Column((torch.int64,), (None,), 0, n - 1)),
        "bits": form_of_bits(n),
        "weights": Maybe(Column((torch.float32,), (None,), 0)),
        "weighting": Maybe(OneOf(("per_sample", "batch_mean"))),
        "passed": Maybe(Column((torch.bool,), (n,))),
        "times_selected": Column((torch.int32,), (n,), 0),
        "finished": Items(Is(str)),
        "labels": Maybe(Column((torch.int64,), (n,), 0)),
        "carried": Named(Number(Range())),
    }
    forms = {
        "world": Number(Range(1), whole=True),
        "done": _COUNT,
        "drop_last": Is(bool),
        "batches": _COUNT,
        "samples": _COUNT,
        "counted": _COUNT,
        "first_narrowed": Maybe(_COUNT),
        "scored": Named(Fields({"cost": Number(Range(0)), "seconds": Number(Range(0))})),
        "engine": Fields({name: form for name, form in engine.items() if name in mine["engine"]}),
        "ledger": Fields(
            {name: _account(value) for name, value in mine["ledger"].items()}
            | {"energy_joules": Maybe(Number(Range(0)))},  # a state may be of a machine that does not tell it
            _LATER,
        ),
        "waiting": Fields({"ids": waits, "carried": waits}),
        "scoring": Fields(scoring),
    }
    return Fields({name: form for name, form in forms.items() if name in mine})


def _account(value: Any) -> Form:
    """The form of an entry of the ledger, by its value here."""
    if isinstance(value, Mapping):
        return Named(Number(Range()))
    if isinstance(value, list):
        return Items(Named(Number(Range())))
    if isinstance(value, bool):
        return Is(bool)
    # Seconds are differences of clocks, and may be below 0 by a rounding error.
    number = Number(Range() if isinstance(value, float) else Range(0))
    return Maybe(number) if value is None else number


# ------------------------------------------------------------------------------------------ memory


def _refuse_memory(engine: Mapping[str, Any], policy: Policy, n: int, epochs: int) -> None:
    """Raise unless the columns are those that the policy's trackers keep, for n samples each."""
    what, memory = f"{_WHAT}['engine']['memory']", engine["memory"]
    refuse_misfit(what, memory, Named(_Entry(n, epochs)))
    static = policy.level == "static"
    for name, own in policy.records.items():
        prefix = f"{name}/" if static else ""
        columns = {key: column for key, column in memory.items() if key.startswith(prefix)}
        forms = _forms(own, n, epochs, prefix, static)
        if not columns or not forms:
            continue
        undeclared = sorted(columns.keys() - {key for form in forms for key in form})
        if undeclared and not static:
            raise ValueError(f"{what} holds {undeclared[0]!r}, which {name} does not keep.")
        nearest = min(forms, key=lambda form: (len(form.keys() - columns.keys()), -len(form)))
        # Other columns of a static method come from its picker: one number a sample.
        made = dict.fromkeys(undeclared, Column((*_FLOATS, *_WHOLES, torch.bool), (n,)))
        refuse_misfit(what, columns, Fields(nearest | made))
    for number, kept in enumerate(engine.get("beside", ())):
        forms = _forms(policy, n, epochs, "", static)
        local = () if (tracker := memory_of(policy)) is None else tracker.local
        if forms and kept:
            form = Fields({name: forms[0][name] for name in local})
            refuse_misfit(f"{_WHAT}['engine']['beside'][{number}]", kept, form)


class _Entry(Form):
    """A column of n rows, or one number for all rows, of any type of number."""

    def __init__(self, n: int, epochs: int) -> None:
        self.n, self.epochs = n, epochs

    def misfits(self, value: Any, path: str) -> Iterator[tuple[str, str, str]]:
        wide = (None,) * max(0, value.ndim - 1) if isinstance(value, Tensor) else ()
        shape = (self.n, *wide) if not isinstance(value, Tensor) or value.ndim else ()
        whole = isinstance(value, Tensor) and value.dtype in _WHOLES
        high = self.epochs if whole and not shape else None
        kinds = (*_FLOATS, *_WHOLES, torch.bool)
        return Column(kinds, shape, -1 if whole else None, high).misfits(value, path)


def _forms(policy: Policy, n: int, epochs: int, prefix: str, static: bool) -> list[dict[str, Form]]:
    """The columns that a tracker has while it observes, after a choice, and when its score is final.

    Empty if unknown: a tracker may declare no columns, and a signal may raise for made-up outputs.
    """
    now = policy if static else policy.sized(n).at(0, epochs)
    if (tracker := memory_of(now)) is None or not n:
        return []
    try:
        tracker = tracker.within(epochs) if static else tracker
        values = _example_values(now, min(n, _ANY - 1))
        declared = tracker.columns({name: value[:0] for name, value in values.items()})
    except Exception:  # a user's class may raise anything
        return []
    begun = {name: column for name, column in declared.items() if column.since is None}
    chosen = {name: c for name, c in begun.items() if c.until != "choice" and (static or c.join != "local")}
    final = {name: c for name, c in declared.items() if c.until != "final"}
    like = next(iter(values.values()))
    shapes = [begun, chosen, final] if declared else []
    if now.batch_tracker is not None:  # a level that was not observed yet has no columns
        shapes += [
            {k: c for k, c in shape.items() if k.startswith(level)}
            for level in (EPOCH, BATCH)
            for shape in shapes
        ]
    return [
        {
            f"{prefix}{name}": _form(column, n, values.get(column.of or "", like))
            for name, column in shape.items()
        }
        for shape in shapes
    ]


def _example_values(policy: Policy, b: int) -> dict[str, Tensor]:
    """Signals of made-up outputs by their names in the memory."""
    outputs = _example_outputs(b)
    if policy.batch_tracker is None:
        return measure(policy.signals, outputs, policy.name)
    levels = measured(policy, policy.source.partition("+")[0]) | measured(policy, "training")
    return {
        level + name: value
        for level, signals in levels.items()
        for name, value in measure(signals, outputs, policy.name).items()
    }


def _example_outputs(b: int) -> Outputs:
    """Outputs with every field, to learn the names and types of the signals."""
    table, one = torch.zeros(b, _ANY), torch.zeros(b)
    head = torch.zeros(_ANY, _ANY), torch.zeros(_ANY)
    return Outputs(one, table, torch.arange(b), table.clone(), head, one.clone())


def _form(column: trackers.Column, n: int, like: Tensor) -> Form:
    """The form of a declared column. If it is as wide as the made-up outputs, any width is allowed."""
    row = tuple(None if length == _ANY else length for length in column.row(like))
    return Column((column.kind(like),), (n, *row) if column.per_sample else row)
