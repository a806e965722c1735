"""`infobatch` (METHODS B9) against plain loops; draws by their law, everything else exactly."""

import math

import pytest
import torch
from plain import EPOCHS, LOSSES, N, close, shares

import samplewise as sw


def opened(losses, **parameters):
    """A selector in epoch 1 after every sample showed a loss in epoch 0."""
    selector = sw.Selector(sw.recipes.infobatch(**parameters), len(losses), epochs=100)
    selector.plan(0)
    selector.observe(torch.arange(len(losses)), torch.tensor(losses))
    return selector


def test_a_trace_by_hand():
    keep, until = 0.4, 0.875
    selector = sw.Selector(sw.recipes.infobatch(keep=keep, until=until), N, epochs=EPOCHS)
    last = [None] * N
    for epoch in range(EPOCHS):
        seen = [loss for loss in last if loss is not None]
        mean = sum(seen) / len(seen) if seen else None
        low = {i for i in range(N) if seen and last[i] is not None and last[i] < mean}
        active = epoch < until * EPOCHS
        plan = selector.plan(epoch)
        kept = set(plan.ids.tolist())
        assert set(range(N)) - low <= kept
        wanted = max(min(1, len(low)), int(keep * len(low) + 1e-9)) if active else len(low)
        assert len(kept & low) == wanted
        weights = [1.0] * len(kept) if plan.weights is None else plan.weights.tolist()
        for i, weight in zip(plan.ids.tolist(), weights, strict=True):
            assert weight == pytest.approx(len(low) / wanted if active and i in low else 1.0)
        selector.observe(plan.ids, torch.tensor(LOSSES[epoch])[plan.ids])
        for i in kept:
            last[i] = LOSSES[epoch][i]
        assert selector.score().tolist() == pytest.approx([math.nan if x is None else x for x in last])
    assert selector.ledger.scoring_forwards == 0


def test_nothing_is_dropped_before_anything_was_seen():
    plan = sw.Selector("infobatch", N, epochs=8).plan(0)
    assert len(plan) == N
    assert plan.weights is None


def test_an_unseen_sample_is_outside_the_mean_and_kept():
    selector = sw.Selector(sw.recipes.infobatch(keep=0.5), 5, epochs=8)
    selector.plan(0)
    selector.observe(torch.tensor([0, 1, 2, 3]), torch.tensor([1.0, 1.0, 5.0, 5.0]))
    for _ in range(2):
        plan = selector.plan(1)
        assert {2, 3, 4} <= set(plan.ids.tolist())
        assert len(plan) == 4


def test_the_low_ones_that_stay_are_a_uniform_draw():
    selector = opened([0.1, 0.2, 0.3, 0.4, 9.0, 9.0], keep=0.5)
    draws = [selector.plan(epoch).ids.tolist() for epoch in range(1, 87)]
    for seed in range(1, 4):
        other = sw.Selector(sw.recipes.infobatch(keep=0.5), 6, epochs=100, seed=seed)
        other.plan(0)
        other.observe(torch.arange(6), torch.tensor([0.1, 0.2, 0.3, 0.4, 9.0, 9.0]))
        draws += [other.plan(epoch).ids.tolist() for epoch in range(1, 87)]
    found = shares(draws)
    assert found[4] == found[5] == 1.0
    assert all(close(found[i], 0.5, len(draws)) for i in range(4))
    assert {len(drawn) for drawn in draws} == {4}


def test_the_independent_form_keeps_the_total_weight_in_the_mean():
    totals = []
    for seed in range(4):
        selector = sw.Selector(sw.recipes.infobatch(keep=0.4, exact=False), N, epochs=100, seed=seed)
        selector.plan(0)
        selector.observe(torch.arange(N), torch.tensor(LOSSES[0]))
        for epoch in range(1, 87):
            plan = selector.plan(epoch)
            totals.append(float(plan.weights.sum()))
    low = sum(loss < sum(LOSSES[0]) / N for loss in LOSSES[0])
    # Each low one weighs 1 / 0.4 with probability 0.4, else 0: variance 1 / 0.4 - 1.
    sd = math.sqrt(low * (1 / 0.4 - 1) / len(totals))
    assert abs(sum(totals) / len(totals) - N) < 4.5 * sd
    assert len(set(totals)) > 2


@pytest.mark.parametrize("loss", [0.1, 1 / 3, 2.3025851, 1e-6])
def test_equal_losses_prune_nothing(loss):
    # A float32 mean of 1,000 times 0.1 lies above 0.1.
    plan = opened([loss] * 1000).plan(1)
    assert len(plan) == 1000
    assert plan.weights is None


def test_only_what_is_strictly_below_the_mean_is_dropped():
    plan = opened([1.0, 2.0, 3.0], keep=0.1).plan(1)
    assert plan.ids.tolist() == [0, 1, 2]
    assert plan.weights.tolist() == [1.0, 1.0, 1.0]  # of one low sample none is left out


@pytest.mark.parametrize(
    ("keep", "low", "kept"), [(0.5, 1, 1), (0.5, 3, 1), (0.1, 9, 1), (0.1, 19, 1), (0.3, 15, 4)]
)
def test_the_weights_add_up_to_all_samples_however_few_are_low(keep, low, kept):
    selector = opened([0.1] * low + [5.0] * low, keep=keep)
    trained = set()
    for epoch in range(1, 87):
        plan = selector.plan(epoch)
        weights = plan.weights[plan.ids < low]
        assert weights.tolist() == pytest.approx([low / kept] * kept)
        assert float(plan.weights.sum()) == pytest.approx(2 * low)
        trained |= set(plan.ids.tolist())
    assert len(trained) > low + min(low, 10) * 0.6


@pytest.mark.parametrize("epochs", [2, 3, 7, 8, 10, 30, 90, 100, 200])
@pytest.mark.parametrize("until", [0.0, 0.1, 0.5, 0.7, 0.85, 0.875, 1.0])
def test_the_final_phase_has_all_samples_with_weight_one(epochs, until):
    selector = sw.Selector(sw.recipes.infobatch(until=until), 4, epochs=epochs)
    selector.plan(0)
    selector.observe(torch.arange(4), torch.tensor([0.1, 0.1, 5.0, 5.0]))
    first_whole = math.ceil(round(until * epochs, 6))
    for epoch in sorted({1, first_whole - 1, first_whole, epochs - 1} & set(range(1, epochs))):
        plan = selector.plan(epoch)
        if epoch < first_whole:
            assert (len(plan), plan.weights.tolist()) == (3, [2.0, 1.0, 1.0])
        else:
            assert (len(plan), plan.weights) == (4, None)


def test_the_loss_is_divided_by_the_batch_and_not_by_the_weights():
    losses = torch.tensor([0.1, 0.1, 5.0, 5.0])
    selector = sw.Selector(
        sw.recipes.infobatch(), list(range(4)), lambda i: losses[i], epochs=8, batch_size=4
    )
    for batch in selector.loader():
        assert float(selector.loss(batch)) == pytest.approx(10.2 / 4)
    for batch in selector.loader():
        assert len(batch.ids) == 3
        assert float(selector.loss(batch)) == pytest.approx((2 * 0.1 + 5 + 5) / 3)
