"""`gradmatch` and `gradmatch_dynamic` (METHODS A14) against plain loops."""

import itertools

import numpy as np
import pytest
import torch
from coreset_runs import recorded
from greedy_plain import (
    budgets,
    by_class,
    column,
    gradients,
    outputs,
    pursue,
    samples,
    tensors,
    weights_of,
)
from test_craig import dynamic, same

import samplewise as sw
from samplewise.pickers import greedy

N = 30


def plain(seed, keep, lam=0.5, eps=1e-4):
    logits, targets, features = samples(N, seed, d=12)
    g = gradients(logits, targets, features)

    def picks(members, k):
        order, weights, _ = pursue(g[members], g[members].sum(0), k, lam, eps)
        assert len(order) == k, "these samples need no fill"
        return order, weights

    return by_class(targets, keep, picks), targets


def table(*seeds):
    return [outputs(N, seed, d=12) for seed in seeds]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("keep", "lam"), [(0.2, 0.5), (0.5, 0.5), (0.5, 0.01), (0.8, 1.0)])
def test_coreset_and_weights_are_those_of_the_definition(seed, keep, lam):
    selector, passes = recorded(sw.recipes.gradmatch(keep=keep, lam=lam), table(50, seed))
    found, targets = plain(seed, keep, lam)
    assert passes == [1]
    assert selector.score().tolist() == column(found, targets)
    subset, weights = selector.subset(), weights_of(found)
    assert subset.ids.tolist() == sorted(weights)
    expected = torch.tensor([weights[i] for i in sorted(weights)]).float()
    torch.testing.assert_close(subset.weights, expected, rtol=2e-4, atol=1e-5)


def test_one_run_serves_every_smaller_share_with_weights_of_its_own():
    selector, _ = recorded(sw.recipes.gradmatch(keep=0.8), table(1, 2))
    for keep in (0.2, 0.4, 0.6, 0.8):
        weights = weights_of(plain(2, keep)[0])
        subset = selector.subset(keep=keep)
        assert subset.ids.tolist() == sorted(weights)
        expected = torch.tensor([weights[i] for i in sorted(weights)]).float()
        torch.testing.assert_close(subset.weights, expected, rtol=2e-4, atol=1e-5)


def fitted(m, seed, k, lam, eps=1e-4, **more):
    residual, features = tensors(m, seed, **more)
    goal, square = greedy.toward_sum(residual, features)
    return greedy.pursue(greedy.gram(residual, features), goal, square, k, lam, eps)


def test_picks_that_lose_their_weight_are_given_up_as_in_the_plain_loop():
    given_up = 0
    for seed in range(30):
        # Few dimensions and a small ridge: many gradients that replace one another.
        logits, targets, features = samples(40, seed, d=3)
        g = gradients(logits, targets, features)
        order, weights, dropped = pursue(g, g.sum(0), 9, 0.01, 1e-4)
        found, found_weights = fitted(40, seed, 9, 0.01, d=3)
        assert found.tolist() == order
        np.testing.assert_allclose(found_weights.numpy(), weights, rtol=1e-3, atol=1e-4)
        given_up += dropped
    assert given_up > 5


def test_the_weights_are_the_best_that_are_not_negative():
    for seed in range(10):
        logits, targets, features = samples(40, seed, d=3)
        g, lam = gradients(logits, targets, features), 0.01
        target = g.sum(0)
        order, weights = fitted(40, seed, 6, lam, d=3)

        def loss(members, w, g=g, target=target, lam=lam):
            return np.square(target - g[members].T @ w).sum() + lam * np.square(w).sum()

        best = np.inf
        for size in range(len(order) + 1):
            for members in itertools.combinations(order.tolist(), size):
                a = g[list(members)]
                w = np.linalg.solve(a @ a.T + lam * np.eye(size), a @ target)
                if (w >= 0).all():
                    best = min(best, loss(list(members), w))
        assert loss(order.tolist(), weights.numpy()) <= best * (1 + 1e-6)
        assert (weights > 0).all()


def test_the_sum_once_met_nothing_more_is_picked():
    # Two directions: the sum of all is met by two picks.
    residual = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 10)
    features = torch.zeros(20, 1)
    goal, square = greedy.toward_sum(residual, features)
    order, weights = greedy.pursue(greedy.gram(residual, features), goal, square, 15, 1e-9, 1e-4)
    assert order.tolist() == [0, 1]
    torch.testing.assert_close(weights, torch.full((2,), 10.0, dtype=torch.float64))


def test_without_a_gradient_towards_the_rest_nothing_more_is_picked():
    # g = 3, 1 and -1: with 3 picked and ridge 6, the rest is 3 - 0.6 * 3 > 0, so 1 joins, but never -1.
    residual, features = torch.tensor([[3.0], [1.0], [-1.0]]), torch.zeros(3, 1)
    goal, square = greedy.toward_sum(residual, features)
    order, weights = greedy.pursue(greedy.gram(residual, features), goal, square, 3, 6.0, 0.0)
    assert order.tolist() == [0, 1]
    torch.testing.assert_close(weights, torch.tensor([9 / 16, 3 / 16], dtype=torch.float64))
    nothing, _ = greedy.pursue(torch.zeros(3, 3), torch.zeros(3), 0.0, 2, 0.5, 1e-4)
    assert len(nothing) == 0


def test_the_rest_of_the_budget_is_a_draw_of_weight_one_keyed_by_the_seed():
    # One feature and two classes: gradients of a class are multiples of few directions.
    targets = [0, 1] * 12
    seen = sw.Outputs(
        torch.ones(24), torch.tensor([[2.0, 0.0]] * 24), torch.tensor(targets), torch.zeros(24, 1)
    )
    chosen = []
    for seed in range(6):
        selector, _ = recorded(sw.recipes.gradmatch(keep=0.5, lam=1e-6), [seen, seen], seed=seed)
        subset = selector.subset()
        assert budgets(targets, 0.5) == {0: 6, 1: 6}
        assert [targets[i] for i in subset.ids.tolist()].count(0) == 6
        weights = sorted(subset.weights.tolist())
        # One pick of weight 12 a class, five of weight 1: mean 34 / 12.
        assert weights == pytest.approx([12 / 34] * 10 + [12 * 12 / 34] * 2, rel=1e-4)
        again, _ = recorded(sw.recipes.gradmatch(keep=0.5, lam=1e-6), [seen, seen], seed=seed)
        assert again.subset().ids.tolist() == subset.ids.tolist()
        half = selector.subset(keep=0.25)
        assert set(half.ids.tolist()) <= set(subset.ids.tolist())
        assert sorted(half.weights.tolist()) == pytest.approx([6 / 28] * 4 + [12 * 6 / 28] * 2, rel=1e-4)
        chosen.append(tuple(subset.ids.tolist()))
    assert len(set(chosen)) > 1


def test_the_dynamic_recipe_warms_up_then_picks_anew_every_period():
    plans, passes, _ = dynamic(sw.recipes.gradmatch_dynamic(keep=0.4, period=3), table(0, 1, 2, 3, 4, 5, 6))
    assert passes == [3, 6]
    assert [len(plan.ids) for plan in plans[:3]] == [N] * 3
    for epoch in range(3, 7):
        found, _ = plain(epoch - epoch % 3, 0.4)
        assert plans[epoch].ids.tolist() == sorted(weights_of(found))
    same(plans[3], plain(3, 0.4)[0])
