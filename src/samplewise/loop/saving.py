"""The state of a training: what `Selector.state_dict` saves, and how a training continues from it."""

from typing import Any

from samplewise.distributed import collectives
from samplewise.engine.states import refuse_damaged
from samplewise.loop.agreement import digest
from samplewise.loop.epochs import Epochs

__all__ = ["continue_from", "state_of"]


def state_of(epochs: Epochs) -> dict[str, Any]:
    """Memory, plan, position and account: tensors and plain values only."""
    engine, ledger, waiting = epochs.engine, epochs.ledger, epochs.waiting
    ledger.assistant_flops += engine.spent()
    waits = {} if waiting is None else {"waiting": waiting.state_dict()}
    return waits | {
        "policy": repr(engine.policy),
        "n": engine.n,
        "seed": engine.seed,
        "world": collectives.world(),
        **epochs.position.state_dict(),
        "first_narrowed": epochs.step.first_narrowed,
        "scored": epochs.exports.state_dict(),
        "engine": engine.state_dict(),
        "ledger": ledger.state_dict(),
    }


def continue_from(epochs: Epochs, state: dict[str, Any]) -> None:
    """Continue where `state_of` was taken, maybe with another number of processes.

    Raises:
        ValueError: if the state is damaged or belongs to another training; nothing is loaded then.
    """
    engine, ledger = epochs.engine, epochs.ledger
    refuse_damaged(state, state_of(epochs), engine.policy, engine.epochs)
    engine.load_state_dict(state["engine"])
    ledger.load_state_dict(state["ledger"])
    if (world := collectives.world()) != state["world"]:
        ledger.rescale(state["world"] / world)
    epochs.exports.load_state_dict(state["scored"])
    epochs.position.load_state_dict(state)
    epochs.step.first_narrowed = state["first_narrowed"]
    if epochs.waiting is not None:
        epochs.waiting.load_state_dict(state["waiting"])
    epochs.loaded(digest([state["engine"][name] for name in ("memory", "ids", "weights")]))
