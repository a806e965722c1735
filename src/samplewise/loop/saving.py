"""The state of a training: what `Selector.state_dict` saves, and how a training continues from it."""

import copy
from typing import Any, TypeVar

from samplewise.distributed import collectives
from samplewise.engine.states import refuse_damaged
from samplewise.loop.agreement import digest
from samplewise.loop.epochs import Timeline

__all__ = ["continue_from", "duplicate", "saved_state", "state_of"]

T = TypeVar("T")


def state_of(timeline: Timeline, copied: bool = True) -> dict[str, Any]:
    """Memory, plan, position and ledger: tensors and plain values. If not copied, later steps change it."""
    engine, ledger, waiting = timeline.engine, timeline.ledger, timeline.waiting
    ledger.assistant_flops += engine.spent()
    timeline.step.tokens.charge()
    more = {} if waiting is None else {"waiting": waiting.state_dict()}
    if scores := timeline.step.scoring_forward.state_dict():
        more["scoring"] = scores
    if timeline.step.gate is not None:
        more["gate"] = timeline.step.gate.state_dict()
    return more | {
        "policy": repr(engine.policy),
        "n": engine.n,
        "seed": engine.seed,
        "world": collectives.world(),
        **timeline.position.state_dict(),
        "first_narrowed": timeline.step.first_narrowed,
        "scored": timeline.exports.state_dict(),
        "engine": engine.state_dict(copied),
        "ledger": ledger.state_dict(),
    }


def saved_state(timeline: Timeline) -> dict[str, Any]:
    """The state to save.

    Raises:
        ValueError: if this process knows observations that the others do not.
    """
    if not timeline.engine.memory.merged:
        raise ValueError(
            "this process observed samples that other processes do not know yet. Call selector.sync() on "
            "every process before state_dict()."
        )
    return state_of(timeline)


def duplicate(whole: T, memo: dict[int, Any]) -> T:
    """A deep copy of an object by its attributes, for `__deepcopy__`."""
    memo[id(whole)] = made = type(whole).__new__(type(whole))
    vars(made).update(copy.deepcopy(vars(whole), memo))
    return made


def continue_from(timeline: Timeline, state: dict[str, Any]) -> None:
    """Continue where `state_of` was taken, maybe with another number of processes.

    Raises:
        ValueError: if the state is damaged or belongs to another training; nothing is loaded then.
    """
    engine, ledger = timeline.engine, timeline.ledger
    scores = timeline.step.scoring_forward
    gate = timeline.step.gate
    gated = None if gate is None else gate.form()
    refuse_damaged(
        state, state_of(timeline, copied=False), engine.policy, engine.epochs, scores.forms(), gated
    )
    if gate is not None:
        gate.load_state_dict(state["gate"])
    engine.load_state_dict(state["engine"])
    ledger.load_state_dict(state["ledger"])
    if (world := collectives.world()) != state["world"]:
        ledger.rescale(state["world"] / world)
    timeline.exports.load_state_dict(state["scored"])
    timeline.position.load_state_dict(state)
    timeline.step.first_narrowed = state["first_narrowed"]
    if timeline.waiting is not None:
        timeline.waiting.load_state_dict(state["waiting"])
    parts = [state["engine"][name] for name in ("memory", "ids", "weights")]
    if "scoring" in state:
        scores.load_state_dict(state["scoring"])
        parts.append(state["scoring"])
    timeline.loaded(digest(parts))
