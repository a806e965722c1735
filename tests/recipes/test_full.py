"""`full`: ordinary training."""

import torch
from plain import EPOCHS, LOSSES, N

import samplewise as sw


def test_every_epoch_trains_every_sample_once_with_weight_one():
    selector = sw.Selector("full", N, epochs=EPOCHS)
    for epoch in range(EPOCHS):
        assert not selector.pass_due(epoch)
        plan = selector.plan(epoch)
        assert plan.ids.tolist() == list(range(N))
        assert plan.weights is None
        selector.observe(plan.ids, torch.tensor(LOSSES[epoch]))
        rows, weights = selector.choose(plan.ids)
        assert rows.tolist() == list(range(N))
        assert weights is None
        assert selector.lr_factor(epoch) == 1.0


def test_the_order_is_a_permutation_that_changes_with_epoch_and_seed():
    orders = []
    for seed in (0, 1):
        selector = sw.Selector("full", 64, epochs=3, seed=seed)
        for epoch in range(3):
            selector.plan(epoch)
            orders.append(tuple(selector.sampler()))
    assert len(set(orders)) == 6
    assert all(sorted(order) == list(range(64)) for order in orders)


def test_it_costs_three_forward_units_a_sample_and_epoch():
    selector = sw.Selector("full", N, epochs=EPOCHS)
    for epoch in range(EPOCHS):
        selector.plan(epoch)
    assert selector.ledger.samples_backpropagated == N * (EPOCHS - 1)  # the last epoch is still open
    assert selector.ledger.cost == 3 * N * (EPOCHS - 1)
    assert selector.ledger.cost_share == 1.0
