"""Laws of resuming: a training continues from a saved state as without an interruption."""

import io
from typing import Any

import torch

from samplewise.policy import Recipe
from samplewise.selector import Selector
from samplewise.testing.counting import Training
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.runs import walk
from samplewise.testing.trace import Trace, build

__all__ = ["resume_changes_nothing", "resume_through_the_loader_changes_nothing", "through_a_file"]


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it comes back from disk, read by torch's safe loader."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@law
def resume_changes_nothing(recipe: Recipe) -> None:
    """A state saved after any pass, plan or batch gives the same later choices in a new Selector."""
    trace, batch = Trace(n=12, epochs=5), 5
    policy = build(recipe, trace.n, period=2)
    selector = Selector(policy, trace.n, epochs=trace.epochs)
    events, states = [], []
    for event in walk(selector, trace, batch):
        events.append(event)
        states.append(through_a_file(selector.state_dict()))
    last = selector.state_dict()["engine"]
    steps, planned = 0, events[0]
    for position, (event, state) in enumerate(zip(events, states, strict=True)):
        if event.kind == "plan":
            steps, planned = 0, event
        steps += event.kind == "step"
        resumed = Selector(policy, trace.n, epochs=trace.epochs)
        resumed.load_state_dict(state)
        later = [e.told() for e in walk(resumed, trace, batch, seen=steps)]
        # An epoch that was open is planned again, which must give the same plan.
        opened = [planned.told()] if state["engine"]["opened"] else []
        wanted = opened + [e.told() for e in events[position + 1 :]]
        where = f"after the {event.kind} number {position} in epoch {event.epoch}"
        ensure(not differs(later, wanted), f"a state loaded {where} chose differently")
        ended = resumed.state_dict()["engine"]
        ensure(not differs(ended, last), f"a state loaded {where} ended with another memory")


@law
def resume_through_the_loader_changes_nothing(recipe: Recipe) -> None:
    """After loading at any step the loader yields the remaining batches, with the same losses and counts."""
    trace = Trace(n=12, epochs=4)
    policy = build(recipe, trace.n, period=2)
    whole = Training(policy, trace, batch=5)
    states = [through_a_file(whole.selector.state_dict()) for _ in whole.steps()]
    for done in range(1, len(states), 2):
        rest = Training(policy, trace, batch=5)
        rest.selector.load_state_dict(states[done - 1])
        rest.finish()
        same = not differs(rest.told(), whole.told()[done:])
        ensure(same, f"loaded after step {done}, other batches or losses came than without the break")
        counts = [
            (t.selector.ledger.samples_backpropagated, t.selector.ledger.scoring_forwards)
            for t in (rest, whole)
        ]
        ensure(counts[0] == counts[1], f"loaded after step {done}, the ledger ended at {counts[0]}")
