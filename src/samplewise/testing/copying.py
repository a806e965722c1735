"""The law of copies: a pickled or deep-copied selector continues as the original does."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

from samplewise.policy import Recipe
from samplewise.selector import Selector
from samplewise.testing.counting import Training
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.runs import walk
from samplewise.testing.trace import Trace, build

__all__ = ["a_copy_changes_nothing"]


def _pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


_WAYS: dict[str, Callable[[Any], Any]] = {"pickled": _pickled, "deep-copied": copy.deepcopy}


def _copied(how: str, thing: Any) -> Any:
    try:
        return _WAYS[how](thing)
    except Exception as error:
        raise AssertionError(f"it cannot be {how}: {error!r}") from error


@law
def a_copy_changes_nothing(recipe: Recipe) -> None:
    """A copy made after any pass, plan or step chooses what the original chooses.

    Each copy is trained to the end before the original continues, so that anything they share would show.
    """
    _by_the_engine(recipe)
    _by_the_loader(recipe)


def _by_the_engine(recipe: Recipe) -> None:
    trace, batch = Trace(n=12, epochs=5), 5
    policy = build(recipe, trace.n, period=2)
    fresh = Selector(policy, trace.n, epochs=trace.epochs)
    wanted = [event.told() for event in walk(fresh, trace, batch)]
    last = fresh.state_dict()["engine"]
    original, steps = Selector(policy, trace.n, epochs=trace.epochs), 0
    for position, event in enumerate(walk(original, trace, batch)):
        where = f"after the {event.kind} number {position} in epoch {event.epoch}"
        ensure(not differs(event.told(), wanted[position]), f"copies moved the original: it shows {where}")
        if event.kind == "plan":
            steps, planned = 0, position
        steps += event.kind == "step"
        # Both ways in the middle of every epoch, elsewhere in turns: each copy is trained to the end.
        for how in _WAYS if steps == 1 else list(_WAYS)[position % 2 :][:1]:
            made = _copied(how, original)
            # An epoch that is open is planned again, which must give the same plan.
            opened = [wanted[planned]] if made.state_dict()["engine"]["opened"] else []
            try:
                later = [e.told() for e in walk(made, trace, batch, seen=steps)]
            except Exception as error:
                raise AssertionError(f"{how} {where}, it ended with {error!r}") from error
            same = not differs(later, opened + wanted[position + 1 :])
            ensure(same, f"{how} {where}, it chose differently")
            ended = made.state_dict()["engine"]
            ensure(not differs(ended, last), f"{how} {where}, it ended with another memory")


def _by_the_loader(recipe: Recipe) -> None:
    trace = Trace(n=12, epochs=4)
    policy = build(recipe, trace.n, period=2)
    whole = Training(policy, trace, batch=5).finish()
    original = Training(policy, trace, batch=5)
    for done, _ in enumerate(original.steps(), 1):
        how = list(_WAYS)[done % 2]
        made = _copied(how, original)
        made.finish()
        same = not differs(made.told(), whole.told())
        ensure(same, f"{how} after step {done} of the loop, other batches or losses came than without")
        counts = [
            (
                t.selector.ledger.samples_backpropagated,
                t.selector.ledger.scoring_forwards,
                t.model.rows_backward,
            )
            for t in (made, whole)
        ]
        ensure(counts[0] == counts[1], f"{how} after step {done} of the loop, it counted {counts[0]} samples")
    ensure(not differs(original.told(), whole.told()), "copies moved the original of the loop")
