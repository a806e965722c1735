"""`noise_budget` in a training: by hand, as `full`, its weights in the loss, and what it tells."""

import math

import pytest
import torch
from plain import EPOCHS, LOSSES, N

import samplewise as sw
from samplewise.testing import Trace, Training, differs

recipe = sw.recipes.noise_budget


def chances(norms, noise, least):
    """Plain Python: the probabilities by halving an interval of tau; None was never seen."""
    seen = [g for g in norms if g is not None]
    if noise == 0 or not any(seen):
        return [1.0] * len(norms)

    def at(tau):
        return [1.0 if g is None else min(1.0, max(least, g / tau)) for g in norms]

    def inflated(tau):
        both = [(g, pi) for g, pi in zip(norms, at(tau), strict=True) if g is not None]
        return math.fsum(g * g / pi for g, pi in both) / math.fsum(g * g for g in seen)

    low, high = min(g for g in seen if g > 0), max(seen) / least
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if inflated(middle) <= 1 + noise else (low, middle)
    return at(low)


@pytest.mark.parametrize("rate", [1.0, 0.3])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_a_trace_by_hand(noise, rate):
    policy = recipe(noise, least=0.2, until=0.8, signal="loss", normalize="none", rate=rate)
    selector = sw.Selector(policy, N, epochs=EPOCHS)
    norms, told = [None] * N, []
    for epoch in range(EPOCHS):
        expected = chances(norms, noise if epoch < 0.8 * EPOCHS else 0, 0.2)
        plan = selector.plan(epoch)
        kept = plan.ids.tolist()
        assert {i for i in range(N) if expected[i] == 1} <= set(kept)
        assert abs(len(kept) - math.fsum(expected)) < 1
        weights = [1.0] * N if plan.weights is None else plan.weights.tolist()
        assert weights == pytest.approx([1 / expected[i] for i in kept])
        told.append((epoch, len(kept) / N, N / math.fsum(expected)))
        selector.observe(plan.ids, torch.tensor(LOSSES[epoch])[plan.ids])
        for i in kept:
            new = 1 - math.exp(-LOSSES[epoch][i])
            norms[i] = new if norms[i] is None else rate * new + (1 - rate) * norms[i]
        assert selector.score().tolist() == pytest.approx(
            [math.nan if g is None else g for g in norms], nan_ok=True
        )
    found = [(s["epoch"], s["keep"], s["step_growth"]) for s in selector.ledger.selections]
    assert [x for row in found for x in row] == pytest.approx([x for row in told for x in row])
    assert min(keep for _, keep, _ in told) < 0.9
    assert selector.ledger.scoring_forwards == 0


def trained(policy):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Training(policy, Trace(n=15, epochs=5), real=True).finish()


def test_without_noise_it_is_full_bit_for_bit():
    mine, plain = trained(recipe(noise=0)), trained(sw.recipes.full())
    assert not differs(mine.told(), plain.told())
    assert not differs(dict(mine.model.state_dict()), dict(plain.model.state_dict()))
    assert mine.selector.ledger.cost == plain.selector.ledger.cost
    some = trained(recipe(noise=0.5))
    assert differs(mine.told(), some.told())


@pytest.mark.parametrize("signal", ["el2n", "loss", "grand"])
def test_each_signal_is_the_gradient_that_it_names(signal):
    """By autograd: at the logits, at the weights and bias of the last layer, and up to a factor sqrt 2."""
    trace = Trace(n=12, epochs=3)
    selector = sw.Selector(recipe(signal=signal), 12, epochs=3)
    ids = selector.plan(0).ids
    selector.observe(ids, trace.outputs(ids, 0))
    found = selector.score().tolist()
    for i in range(12):
        logits = trace.logits[0, i].double().requires_grad_()
        loss = torch.nn.functional.cross_entropy(logits[None], trace.targets[i, None])
        (gradient,) = torch.autograd.grad(loss, logits)
        if signal == "grand":
            weight = torch.outer(gradient, trace.features[0, i].double())
            gradient = torch.cat([weight.flatten(), gradient])
        norm = float(gradient.norm())
        if signal == "loss":
            assert norm / math.sqrt(2) * 0.999 <= found[i] <= norm * 1.001
        else:
            assert found[i] == pytest.approx(norm, rel=1e-4)


def test_the_loss_is_the_mean_over_the_batch_of_weight_times_loss():
    losses = torch.tensor([0.01, 0.01, 0.02, 3.0])
    for normalize in ("none", "mean1"):
        policy = recipe(0.2, signal="loss", normalize=normalize)
        selector = sw.Selector(policy, list(range(4)), lambda i: losses[i], epochs=8, batch_size=4)
        for batch in selector.loader():
            assert float(selector.loss(batch)) == pytest.approx(float(losses.mean()))
        for batch in selector.loader():
            pi = torch.tensor(chances([1 - math.exp(-x) for x in losses.tolist()], 0.2, 0.1))[batch.ids]
            weights = 1 / pi if normalize == "none" else (1 / pi) / (1 / pi).mean()
            assert float(selector.loss(batch)) == pytest.approx(float((weights * losses[batch.ids]).mean()))
        assert len(batch.ids) < 4


@pytest.mark.parametrize("epochs", [3, 8, 10, 30])
@pytest.mark.parametrize("until", [0.0, 0.5, 0.875, 1.0])
def test_the_last_epochs_have_all_samples_with_weight_one(epochs, until):
    selector = sw.Selector(recipe(9.0, until=until, signal="loss", normalize="none"), 40, epochs=epochs)
    selector.plan(0)
    selector.observe(torch.arange(40), torch.linspace(0.01, 4, 40))
    for epoch in range(1, epochs):
        plan = selector.plan(epoch)
        if epoch < math.ceil(round(until * epochs, 6)):
            assert (len(plan), plan.weights.tolist()) == (4, pytest.approx([10.0] * 4))
        else:
            assert (len(plan), plan.weights) == (40, None)


def test_an_unreachable_noise_and_a_share_are_refused_when_the_policy_is_built():
    with pytest.raises(ValueError, match=r"must be at most 1 / least - 1 = 9, got 9.5 with least=0.1"):
        recipe(9.5)
    with pytest.raises(
        ValueError, match=r"noise_budget has no parameter 'keep'.*The share follows from the noise"
    ):
        recipe(keep=0.5)


def test_a_negative_loss_is_refused():
    selector = sw.Selector(recipe(signal="loss"), 4, epochs=4)
    selector.plan(0)
    with pytest.raises(
        ValueError, match=r"noise_budget needs losses >= 0, but the loss is negative for ids \[1\]"
    ):
        selector.observe(torch.arange(4), torch.tensor([0.5, -0.1, 0.2, 0.3]))


def test_noise_may_be_a_schedule():
    policy = recipe(sw.schedules.Linear(1.0, 0.0), signal="loss", until=1.0)
    selector = sw.Selector(policy, 40, epochs=10)
    for epoch in range(10):
        selector.plan(epoch)
        selector.observe(torch.arange(40), torch.linspace(0.01, 4, 40))
    found = [notes["noise_inflation"] for notes in selector.ledger.selections]
    assert found == pytest.approx([1.0, *(1 + 1 - epoch / 10 for epoch in range(1, 10))])
