"""Laws of a small model that scores beside the model: `sw.Scoring(scorer=...)`."""

import math
from functools import partial

import torch

from samplewise.loop.scorers import Scorer
from samplewise.loop.scoring import Scoring
from samplewise.policy import Policy, Recipe
from samplewise.testing.budgets import long_enough
from samplewise.testing.counting import CountingModel, ToyForward, Training
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.trace import Trace, build

__all__ = ["a_small_model_may_score"]

_EVERY = 2


@law
def a_small_model_may_score(recipe: Recipe) -> None:
    """A scorer makes every scoring forward, is charged by its FLOPs, and a resume continues its training."""
    n = 16
    policy = build(recipe, n, keep=0.4, period=3)
    scores = isinstance(policy, Policy) and policy.scores and policy.level != "static" and not policy.proxy
    if not scores:
        return
    trace = Trace(n, long_enough(policy, 8))
    training, small = _training(policy, trace)
    middle = None
    for step, _ in enumerate(training.steps()):
        if step == trace.epochs:
            middle = training.selector.state_dict(), step + 1
    ledger, model = training.selector.ledger, training.model
    ensure(model.rows_without_grad == 0, f"the model scored {model.rows_without_grad} rows itself")
    for name, entered, counted in (
        ("training forwards", ledger.training_forwards, model.rows_with_grad),
        ("samples back-propagated", ledger.samples_backpropagated, model.rows_backward),
        ("scoring forwards by the model", ledger.scoring_forwards, 0),
        ("scoring forwards by the scorer", ledger.cheap_scoring_forwards, small.rows_without_grad),
    ):
        ensure(entered == counted, f"the ledger says {entered} {name}, not {counted}")
    taught = small.rows_with_grad
    ensure(taught > 0, "the scorer never trained")
    classes = small.fc.out_features
    forward = 2 * (4 * 8 + 8 * classes)  # two linear layers, 2 FLOPs for a multiplication and an addition
    backward = forward + 2 * 8 * classes  # the first layer needs no gradient of its inputs
    flops = forward * (small.rows_without_grad + taught) + backward * taught
    ensure(ledger.cheap_flops == flops, f"the ledger says {ledger.cheap_flops} FLOPs, not {flops}")
    cost = 3 * model.rows_backward + flops / forward
    ensure(math.isclose(ledger.cost, cost), f"the cost is {ledger.cost}, counted {cost} forward units")
    if middle is not None:
        _resumes(policy, trace, training, small, *middle)


def _training(policy: Policy, trace: Trace) -> tuple[Training, CountingModel]:
    """A training with a scorer whose dropout draws nothing, because a state does not hold torch's."""
    small = CountingModel(seed=1)
    small.body[3] = torch.nn.Identity()
    forward = ToyForward(small, trace, real=True, watch=False)
    scorer = Scorer(small, forward, every=_EVERY, lr=0.1, optimizer=partial(torch.optim.SGD, momentum=0.9))
    return Training(policy, trace, scoring=Scoring(scorer=scorer)), small


def _resumes(
    policy: Policy, trace: Trace, whole: Training, small: CountingModel, state: dict[str, object], done: int
) -> None:
    """A new training from a state ends with the same small model and the same batches."""
    rest, other = _training(policy, trace)
    rest.selector.load_state_dict(state)
    rest.finish()
    later = [(epoch, batch.ids) for epoch, batch in rest.seen]
    wanted = [(epoch, batch.ids) for epoch, batch in whole.seen[done:]]
    ensure(not differs(later, wanted), f"loaded after step {done}, other batches came")
    ensure(
        not differs(dict(other.state_dict()), dict(small.state_dict())),
        f"loaded after step {done}, the scorer ended with other weights",
    )
