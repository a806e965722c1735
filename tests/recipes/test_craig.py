"""`craig` and `craig_dynamic` (METHODS A13) against plain loops."""

import numpy as np
import pytest
import torch
from coreset_runs import recorded, rows, shown
from greedy_plain import (
    by_class,
    clusters,
    column,
    gradients,
    locate,
    outputs,
    samples,
    similarities,
    tensors,
    weights_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.pickers import greedy

N = 23


def plain(seed, keep):
    logits, targets, features = samples(N, seed)
    g = gradients(logits, targets, features)

    def picks(members, k):
        sim = similarities(g[members])
        order = locate(sim, k)
        return order, clusters(sim, order)

    return by_class(targets, keep, picks), targets


def same(subset, found):
    weights = weights_of(found)
    assert subset.ids.tolist() == sorted(weights)
    expected = torch.tensor([weights[i] for i in sorted(weights)])
    torch.testing.assert_close(subset.weights, expected.float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keep", [0.15, 0.5, 0.9])
def test_coreset_and_weights_are_those_of_the_definition(seed, keep):
    selector, passes = recorded(sw.recipes.craig(keep=keep), [outputs(N, 50), outputs(N, seed)])
    found, targets = plain(seed, keep)
    assert passes == [1]
    assert selector.score().tolist() == column(found, targets)
    same(selector.subset(), found)


def test_one_run_serves_every_smaller_share_with_weights_of_its_own():
    selector, _ = recorded(sw.recipes.craig(keep=0.9), [outputs(N, 1), outputs(N, 2)])
    for keep in (0.15, 0.4, 0.7, 0.9):
        same(selector.subset(keep=keep), plain(2, keep)[0])


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 25), st.data())
def test_the_order_is_that_of_the_definition_for_any_gradients(seed, m, data):
    k = data.draw(st.integers(1, m))
    logits, targets, features = samples(m, seed)
    sim = similarities(gradients(logits, targets, features))
    found = greedy.similarity(*tensors(m, seed))
    np.testing.assert_allclose(found.numpy(), sim, atol=2e-5)
    order = greedy.locate(found, k)
    assert order.tolist() == locate(sim, k)
    assert greedy.clusters(found, order).tolist() == clusters(sim, order.tolist())


def test_equal_gains_are_taken_in_the_order_of_the_samples_and_equal_clusters_go_to_the_first_pick():
    sim = torch.tensor(
        [[4.0, 4, 0, 0, 2], [4, 4, 0, 0, 2], [0, 0, 4, 4, 2], [0, 0, 4, 4, 2], [2, 2, 2, 2, 4]],
    )
    order = greedy.locate(sim, 5)
    # Sample 4 wins first with 12; then 0 and 1 gain 2 + 2, as 2 and 3 do.
    assert order.tolist() == [4, 0, 2, 1, 3]
    assert greedy.clusters(sim, order).tolist() == [1, 2, 2, 0, 0]


def test_a_copy_of_a_pick_has_an_empty_cluster_and_the_smallest_weight():
    logits, _, features = samples(3, 7)
    copied = [0, 0, 0, 0, 1, 2]
    table = [shown([logits[i] for i in copied], [0] * 6, [features[i] for i in copied])] * 2
    selector, _ = recorded(sw.recipes.craig(keep=0.8), table)
    subset = selector.subset()
    assert len(subset.ids) == 5
    copies = [int(i) for i in subset.ids if i < 4]
    # The first copy stands for all four; the others for nobody, so they get the smallest weight, 1.
    weights = dict(zip(subset.ids.tolist(), subset.weights.tolist(), strict=True))
    raw = {i: (4 if i == copies[0] else 1) for i in weights}
    mean = sum(raw.values()) / 5
    assert weights == pytest.approx({i: w / mean for i, w in raw.items()})


def dynamic(policy, table, labels=None):
    """Plans and passes of a run in which epoch e shows `table[e]`."""
    n = len(table[0].loss)
    selector = sw.Selector(policy, n, epochs=len(table), labels=labels)
    plans, passes = [], []
    for epoch, seen in enumerate(table):
        if selector.pass_due(epoch):
            passes.append(epoch)
            for ids in selector.pass_ids(epoch).split(5):
                selector.observe(ids, rows(seen, ids), source="pass")
        plans.append(selector.plan(epoch))
        selector.observe(torch.arange(n), rows(seen, torch.arange(n)).loss)
    return plans, passes, selector


def test_the_dynamic_recipe_warms_up_then_picks_anew_every_period():
    table = [outputs(N, seed) for seed in range(7)]
    plans, passes, selector = dynamic(sw.recipes.craig_dynamic(keep=0.4, period=2), table)
    assert passes == [2, 4, 6]
    assert selector.ledger.scoring_forwards == 3 * N
    for epoch in (0, 1):
        assert plans[epoch].ids.tolist() == list(range(N))
        assert plans[epoch].weights is None
    for epoch in range(2, 7):
        same(plans[epoch], plain(epoch - epoch % 2, 0.4)[0])


@pytest.mark.parametrize("recipe", [sw.recipes.craig_dynamic, sw.recipes.gradmatch_dynamic], ids=str)
def test_fitted_keep_is_the_average_with_the_warm_up(recipe):
    table = [outputs(N, seed) for seed in range(6)]
    plans, passes, _ = dynamic(recipe(keep=0.6, period=2, fit=True), table)
    sizes = [len(plan.ids) for plan in plans]
    assert sizes[:2] == [N, N]
    assert abs(sum(sizes) - 0.6 * 6 * N) <= 2  # of a period of two epochs, one sample
    assert max(sizes[2:]) - min(sizes[2:]) <= 1
    assert passes == [2, 4]
    with pytest.raises(
        ValueError, match=r"fit=True needs a number as keep, the average over the training, got"
    ):
        recipe(keep=sw.schedules.Linear(0.5, 0.3), fit=True)
    with pytest.raises(ValueError, match=r"keep must be in .* with a warm-up of 2 of 6 epochs, got 0.3"):
        sw.Selector(recipe(keep=0.3, period=2, fit=True), N, epochs=6)


def test_a_training_of_less_than_two_periods_is_refused_with_the_fix():
    with pytest.raises(ValueError, match=r"period must be at most half the 8 epochs.* period=4"):
        sw.Selector(sw.recipes.craig_dynamic(keep=0.4, period=5), N, epochs=8)
    sw.Selector(sw.recipes.craig_dynamic(keep=0.4, period=4), N, epochs=8)
    sw.Selector(sw.recipes.craig_dynamic(keep=1, period=5), N, epochs=8)
