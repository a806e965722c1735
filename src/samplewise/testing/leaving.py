"""Laws of side effects: global random states, the model, and what worker processes get."""

import copy
import pickle
import random
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from samplewise import pickers, schedules, signals, trackers
from samplewise.loop.scoring import Scoring
from samplewise.policy import REGISTRY, Policy, Recipe
from samplewise.schedules.parts import parts
from samplewise.testing.counting import ToyData, Training, state_of
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.runs import run
from samplewise.testing.trace import Trace, build

__all__ = [
    "global_rng_is_as_found",
    "pickles_and_spawns",
    "repr_round_trips",
    "scoring_leaves_no_trace",
]

_RANDOM = ("torch", "numpy", "python")


def _checked_at_random(numbers: list[int]) -> bool:
    """Whether calls are type-checked by drawing: beartype looks at one item of a list, chosen by `random`."""
    return len(numbers) > 0


def _compared() -> tuple[str, ...]:
    """The random states that can be compared: not Python's while a type checker draws from it."""
    before = random.getstate()
    _checked_at_random([1, 2])
    return _RANDOM if random.getstate() == before else _RANDOM[:2]


def _random_states() -> dict[str, Any]:
    everything = {
        "torch": torch.get_rng_state(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002 - read, not drawn from
        "python": repr(random.getstate()),
    }
    return {name: everything[name] for name in _compared()}


def _changed(policy: Any, scoring: Scoring, trace: Trace) -> tuple[set[str], int]:
    """What a training forward found changed since the last step, and the number of comparisons."""
    training = Training(policy, trace, scoring=scoring, watch=True)
    left, changed, looked = state_of(training.model), set[str](), 0
    for _ in training.steps():
        (found,) = training.forward.states
        training.forward.states.clear()
        # Clearing the gradients is the training loop's.
        changed |= {name for name in found if differs(left[name], found[name])}
        left, looked = state_of(training.model), looked + 1
    changed |= {name for name, value in state_of(training.model).items() if differs(left[name], value)}
    return changed, looked


@law
def global_rng_is_as_found(recipe: Recipe) -> None:
    """Choosing, scoring and passes do not change the random states of torch, numpy and Python."""
    trace = Trace(n=12, epochs=4)
    policy = build(recipe, trace.n, period=2)
    before = _random_states()
    run(policy, trace, batch=5, labels=trace.targets)
    ensure(not differs(before, _random_states()), "the engine moved a global random state")
    drawing = ToyData(trace, draws=True)
    for mode in ("eval", "train"):
        changed, looked = _changed(policy, Scoring(mode=mode, dataset=drawing), trace)
        ensure(looked > 0, "no step was taken")
        moved = sorted(changed.intersection(_compared()))
        ensure(not moved, f"scoring in {mode} mode moved the global random state of {', '.join(moved)}")


@law
def scoring_leaves_no_trace(recipe: Recipe) -> None:
    """Scoring changes no parameter, buffer, gradient or training flag of the model, in either mode."""
    trace = Trace(n=12, epochs=4)
    policy = build(recipe, trace.n, period=2)
    for mode in ("eval", "train"):
        changed, _ = _changed(policy, Scoring(mode=mode), trace)
        left = sorted(changed.difference(_RANDOM))
        ensure(not left, f"scoring in {mode} mode changed the model's {', '.join(left)}")


@law
def pickles_and_spawns(recipe: Recipe) -> None:
    """The policy, the recipe and what workers receive survive pickling and copying."""
    trace = Trace()
    policy = build(recipe, trace.n, period=3)
    training = Training(policy, trace)
    loader = training.loader
    try:
        again = pickle.loads(pickle.dumps(policy))
        copied = copy.deepcopy(policy)
        same_recipe = pickle.loads(pickle.dumps(recipe))
        data, collate = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
    except Exception as error:
        raise AssertionError(f"pickling fails: {error!r}") from error
    ensure(same_recipe is recipe, "the recipe unpickles to another object")
    if isinstance(policy, Policy):
        for other in (again, copied):
            equal = (other, dict(other.params), other.name) == (policy, dict(policy.params), policy.name)
            ensure(equal, f"the policy unpickles to {other!r}")
    told = [run(p, trace).told() for p in (policy, again)]
    ensure(not differs(*told), "the unpickled policy chooses differently")
    batches = [fn([ds[2], ds[0]]) for ds, fn in ((loader.dataset, loader.collate_fn), (data, collate))]
    ensure(not differs(*map(tuple, batches)), "a spawned worker makes other batches")


@law
def repr_round_trips(recipe: Recipe) -> None:
    """The repr of a policy is Python code that builds it again."""
    if recipe.toy is not None:
        return
    default, changed = build(recipe, 1), build(recipe, 1, keep=0.6, period=3)
    if not isinstance(default, Policy):
        return
    own = {signal.__name__: signal for signal in default.signals}
    known = SimpleNamespace(**vars(signals) | own)
    names: dict[str, Any] = {"recipes": SimpleNamespace(**REGISTRY), "signals": known, "Policy": Policy}
    for module in (trackers, pickers, schedules):
        names |= {name: getattr(module, name) for name in module.__all__}
    for policy in (default, changed):
        ensure(policy.name == recipe.name, f"its policy is named {policy.name}")
        back = _read(policy, names)
        ensure(dict(back.params) == dict(policy.params), f"{policy!r} reads back with {dict(back.params)}")
        bare = replace(policy, name="policy", params=MappingProxyType({}))
        _read(bare, names | {type(part).__name__: type(part) for part in parts(bare)})


def _read(policy: Policy, names: dict[str, Any]) -> Policy:
    try:
        back = eval(repr(policy), names)
    except Exception as error:
        raise AssertionError(f"{policy!r} is not Python that runs: {error!r}") from error
    ensure(back == policy, f"{policy!r} reads back as {back!r}")
    policy_again: Policy = back
    return policy_again
