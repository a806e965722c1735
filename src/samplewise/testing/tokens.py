"""Laws of methods that choose tokens: how many, which, and the same ones again."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from samplewise import recipes as registry
from samplewise.data.outputs import Outputs
from samplewise.policy import Policy, Recipe
from samplewise.recipes.rho_tokens import toy_targets
from samplewise.testing.counting import Training
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.trace import Trace, build

__all__ = ["all_tokens_are_full", "chosen_tokens_come_again", "the_share_of_tokens_is_met"]

_N, _BATCH = 18, 7


@law
def the_share_of_tokens_is_met(recipe: Recipe) -> None:
    """Of m tokens of a batch, m - floor((1 - keep) m) carry a loss, and no padding. The ledger says so."""
    policy = build(recipe, _N)
    if not isinstance(policy, Policy) or policy.token_choice is None:
        return
    trace = Trace(n=_N, epochs=2)
    training = Training(policy, trace, _BATCH)
    share = policy.token_choice.share
    seen = trained = 0
    for ids, with_loss in _steps(training):
        real = toy_targets(ids) != -100
        m = int(real.sum())
        k = m - math.floor((1 - share) * m + 1e-9)
        ensure(not bool((with_loss & ~real).any()), "a position without a token carries a loss")
        ensure(int(with_loss.sum()) == k, f"{int(with_loss.sum())} of {m} tokens carry a loss, not {k}")
        seen, trained = seen + m, trained + k
    told = _counted(training)
    ensure(told == (seen, trained), f"the ledger says {told} tokens and with a loss, not {seen, trained}")


@law
def chosen_tokens_come_again(recipe: Recipe) -> None:
    """The same seed, a resume at any step and a second evaluation of a batch choose the same tokens."""
    policy = build(recipe, _N)
    if not isinstance(policy, Policy) or policy.token_choice is None:
        return
    trace = Trace(n=_N, epochs=2)
    training = Training(policy, trace, _BATCH)
    whole = list(_steps(training))
    again = list(_steps(Training(policy, trace, _BATCH)))
    ensure(not differs(whole, again), "the same seed chose other tokens")
    again = list(_steps(Training(policy, trace, _BATCH), twice=True))
    ensure(not differs(whole, again), "a second evaluation of a batch chose other tokens")
    for stop in range(1, len(whole)):
        first, rest = Training(policy, trace, _BATCH), Training(policy, trace, _BATCH)
        steps = _steps(first)
        for _ in range(stop):
            next(steps)
        rest.selector.load_state_dict(first.selector.state_dict())
        later = list(_steps(rest))
        ensure(not differs(whole[stop:], later), f"after a resume at step {stop} other tokens were chosen")
        ensure(
            _counted(rest) == _counted(training), f"after a resume at step {stop} the ledger counts others"
        )


@law
def all_tokens_are_full(recipe: Recipe) -> None:
    """With `keep` at 1 all tokens carry a loss, and losses and weights are those of `full`, bit for bit."""
    policy = build(recipe, _N)
    if not isinstance(policy, Policy) or policy.token_choice is None:
        return
    given = {name: value for name, value in policy.params.items() if name != "keep"}
    trace = Trace(n=_N, epochs=2)
    ends = []
    for one in (recipe(**given, keep=1), registry.get("full")()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            ends.append(Training(one, trace, _BATCH, real=True, tokens=True).finish())
    ensure(not differs(ends[0].told(), ends[1].told()), "keep=1 gives other losses than full")
    models = [dict(end.model.state_dict()) for end in ends]
    ensure(not differs(*models), "keep=1 trains another model than full")
    ensure(ends[0].selector.ledger.cost == ends[1].selector.ledger.cost, "keep=1 is charged more than full")


def _counted(training: Training) -> tuple[int, int]:
    ledger = training.selector.ledger
    return ledger.tokens, ledger.tokens_trained


def _steps(training: Training, twice: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Train to the end. Yields the ids of each batch, and which of its tokens carry a loss: a gradient came.

    With `twice` every batch is evaluated twice, and the second time counts.
    """
    own, seen = training.forward, list[Tensor]()

    def forward(data: dict[str, Any]) -> Outputs:
        outputs = own(data)
        if outputs.token_losses is not None:
            outputs.token_losses.retain_grad()
            seen.append(outputs.token_losses)
        return outputs

    training.selector.forward = forward
    for _ in range(training.selector.epoch, training.trace.epochs):
        for batch in training.loader:
            for _ in range(1 + twice):
                seen.clear()
                torch.autograd.backward(training.selector.loss(batch))
            (losses,) = seen
            yield batch.ids, torch.zeros_like(losses) != (0 if losses.grad is None else losses.grad)
