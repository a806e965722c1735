"""The law of cheap scores: what they cost, what they leave behind, and how they resume."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from samplewise.loop.scoring import Scoring
from samplewise.policy import Policy, Recipe
from samplewise.testing.budgets import long_enough
from samplewise.testing.counting import Training, state_of
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.resuming import through_a_file
from samplewise.testing.trace import Trace, build

__all__ = ["cheap_scores_cost_what_they_compute"]

_LAYER, _WHOLE, _HEAD = 2 * 4 * 8, 2 * (4 * 8 + 8 * 3), 2 * 8 * 3
"""FLOPs of a row of `CountingModel` by hand: of its first layer, of all of it, and of a head."""


class _Rows:
    """Counts the rows that come to a layer, with and without gradients."""

    def __init__(self, layer: nn.Module) -> None:
        self.scored = self.trained = self.first = 0
        layer.register_forward_pre_hook(self._count)

    def _count(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            self.first = self.first or len(inputs[0])
            self.trained += len(inputs[0])
        else:
            self.scored += len(inputs[0])


@law
def cheap_scores_cost_what_they_compute(recipe: Recipe) -> None:
    """With a view, and with a scoring forward that ends at a layer, the ledger has the FLOPs counted by hand.

    Scoring leaves model, random states and hooks as found, and a resumed training continues as without a
    break. Methods that cannot score at a layer refuse it.
    """
    policy = build(recipe, 12, keep=0.4, period=2)
    if not isinstance(policy, Policy) or recipe.toy is not None:
        return
    trace = Trace(12, long_enough(policy, 4))
    if "gradient_norm" not in policy.reads:
        _check(policy, trace, Scoring(view=dict))
    at = Scoring(at="body.0")
    if policy.proxy or {"gradient_norm", "target_product"} & {*policy.reads}:
        try:
            Training(policy, trace, scoring=at)
        except ValueError:
            return
        raise AssertionError("it scores at a layer, although it needs more than that")
    _check(policy, trace, at)
    _check_resume(policy, trace, at)


def _check(policy: Policy, trace: Trace, scoring: Scoring) -> None:
    training = Training(policy, trace, batch=5, scoring=scoring, watch=True)
    model, ledger = training.model, training.selector.ledger
    rows, how = _Rows(model.body[0]), "a view" if scoring.at is None else "a scoring forward that ends early"
    left, moved = state_of(model), set[str]()
    for _ in training.steps():
        (found,) = training.forward.states
        training.forward.states.clear()
        moved |= {name for name in found if name != "python" and differs(left[name], found[name])}
        left = state_of(model)
    ensure(not moved, f"{how} changed {', '.join(sorted(moved))}")
    hooked = [name for name, module in model.named_modules() if module._forward_hooks]
    ensure(not hooked, f"{how} left hooks on {hooked}")
    cost = float(3 * ledger.samples_backpropagated)
    if scoring.at is None:
        scored = model.rows_without_grad + model.narrow_without_grad
        narrow = 3 * model.narrow_with_grad + model.narrow_without_grad
        cost += model.rows_without_grad + model.proxy_share * narrow
    else:
        scored = rows.scored
        ensure(not model.rows_without_grad, f"{how} ran to its end for {model.rows_without_grad} rows")
        learns = "scoring" in training.selector.state_dict()
        learned = (rows.trained - rows.first) * 2 * _HEAD * learns
        cost += (scored * (_LAYER + _HEAD) + learned) / _WHOLE
    ensure(
        (ledger.cheap_scoring_forwards, ledger.scoring_forwards + ledger.proxy_scoring_forwards)
        == (scored, 0),
        f"with {how}, the ledger says {ledger.cheap_scoring_forwards} cheap scoring forwards, not {scored}",
    )
    found_cost = ledger.cost - ledger.assistant_cost
    same = math.isclose(found_cost, cost, rel_tol=1e-9)
    ensure(same, f"with {how}, the cost is {found_cost}, counted {cost} forward units")


def _check_resume(policy: Policy, trace: Trace, scoring: Scoring) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole, rest = (Training(policy, trace, batch=5, scoring=scoring) for _ in range(2))
        states: list[dict[str, Any]] = []
        for _ in whole.steps():
            parts = (whole.selector.state_dict(), whole.model.state_dict(), whole.optimizer.state_dict())
            states.append(through_a_file({"parts": parts, "rng": torch.get_rng_state()}))
        done = len(states) // 2
        parts_of_rest: tuple[Any, ...] = (rest.selector, rest.model, rest.optimizer)
        for part, state in zip(parts_of_rest, states[done - 1]["parts"], strict=True):
            part.load_state_dict(state)
        torch.set_rng_state(states[done - 1]["rng"])
        rest.finish()
    ends = [training.selector.state_dict().get("scoring", {}) for training in (whole, rest)]
    ensure(not differs(rest.told(), whole.told()[done:]), "resumed with a head, other batches or losses came")
    ensure(not differs(*ends), "resumed with a head, it ended with another one")
