"""Laws of the gate: it changes no choice but those that it declares, and a resumed training goes on alike."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from samplewise.data.outputs import Outputs
from samplewise.policy import Policy, Recipe
from samplewise.testing.budgets import long_enough
from samplewise.testing.counting import ToyForward, Training
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.resuming import through_a_file
from samplewise.testing.trace import Trace, build

__all__ = ["a_gate_resumes", "a_gate_that_pays_changes_plain_steps_only"]

_N, _BATCH, _EPOCHS = 40, 4, 9
_DECIDES = 70
"""Steps that narrow without a gate, after which a gate has decided: 7 rounds of 8, and the ends of epochs."""


class _Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class _Timed:
    """A forward that takes seconds of a clock: one a row, and `scoring` without gradient."""

    def __init__(self, forward: ToyForward, clock: _Clock, scoring: float) -> None:
        self.forward, self.clock, self.scoring = forward, clock, scoring

    def __call__(self, data: dict[str, Any]) -> Outputs:
        return self._run(self.forward, data)

    def proxy(self, data: dict[str, Any]) -> Outputs:
        return self._run(self.forward.proxy, data)

    def _run(self, forward: Callable[[dict[str, Any]], Outputs], data: dict[str, Any]) -> Outputs:
        self.clock.now += len(data["id"]) * (1.0 if torch.is_grad_enabled() else self.scoring)
        return forward(data)


@contextmanager
def _training(policy: Any, epochs: int, scoring: float, gate: bool) -> Iterator[Training]:
    """A training whose clock stands still between forwards."""
    clock = _Clock()
    with mock.patch.object(time, "perf_counter", clock), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a gate warns where it is ignored, and where it ends selection
        made = Training(policy, Trace(_N, epochs), _BATCH, gate=gate)
        made.selector.forward = _Timed(made.forward, clock, scoring)
        yield made


def _gated(policy: Any) -> bool:
    """Whether a gate is not ignored for a method."""
    if not isinstance(policy, Policy):
        return True
    chooses = bool(policy.signals) or policy.batch_picker is not None
    return chooses and policy.level != "static" and not (policy.proxy or policy.assemble)


@law
def a_gate_that_pays_changes_plain_steps_only(recipe: Recipe) -> None:
    """Where scoring costs little, all choices are those without a gate, but for the plain steps it declares.

    Methods whose choices follow earlier choices, and methods without a `Policy`, are left out.
    """
    policy = build(recipe, _N, keep=0.5, period=2)
    if not isinstance(policy, Policy) or not _gated(policy):
        return
    if policy.tracker is not None and policy.tracker.follows_choices:
        return
    epochs = long_enough(policy, _EPOCHS)
    with _training(policy, epochs, 0.05, False) as without:
        narrowed = sum(without.selector.engine.narrows for _ in without.steps())
    with _training(policy, epochs, 0.05, True) as gated:
        gated.finish()
    ledger = gated.selector.ledger
    ended = [decision for decision in ledger.decisions if not decision["pays"]]
    ensure(not ended, f"a gate decided against selection that pays: {ended}")
    other = sum(map(differs, gated.told(), without.told()))
    ensure(len(gated.told()) == len(without.told()), "with a gate there were more or fewer steps")
    ensure(other <= ledger.plain_steps, f"{other} steps differ, but {ledger.plain_steps} plain ones are told")
    if policy.level == "batch" and narrowed >= _DECIDES:
        ensure(bool(ledger.decisions), f"a gate did not decide within {narrowed} steps that narrow")


@law
def a_gate_resumes(recipe: Recipe) -> None:
    """A training with a gate that continues from a state makes the same choices and decisions."""
    policy = build(recipe, _N, keep=0.5, period=2)
    if not _gated(policy):
        return
    epochs = long_enough(policy, _EPOCHS) if isinstance(policy, Policy) else _EPOCHS
    for scoring, points in ((0.05, (7, 62)), (3.0, (31, 75))):
        states = []
        with _training(policy, epochs, scoring, True) as whole:
            for step, _ in enumerate(whole.steps(), 1):
                if step in points:
                    states.append((step, through_a_file(whole.selector.state_dict())))
        for done, state in states:
            with _training(policy, epochs, scoring, True) as rest:
                rest.selector.load_state_dict(state)
                rest.finish()
            same = not differs(rest.told(), whole.told()[done:])
            ensure(same, f"loaded after step {done} of a gated training, other batches or losses came")
            told = [
                [(d["epoch"], d["selects"], d["every"]) for d in t.selector.ledger.decisions]
                for t in (rest, whole)
            ]
            ensure(told[0] == told[1], f"loaded after step {done}, a gate decided {told[0]}, not {told[1]}")
