"""`epsilon_greedy` (METHODS B4): the largest averages, and a uniform draw from ALL the others."""

import math

import torch
from plain import LOSSES, N, close, count, largest, shares
from test_uncertainty import trained

import samplewise as sw


def test_counts_and_the_greedy_part_are_exact():
    for keep, eps in ((0.5, 0.5), (0.75, 0.4), (0.5, 0.3), (0.9, 0.1)):
        plans, *_ = trained(sw.recipes.epsilon_greedy(keep=keep, period=3, eps=eps))
        k = count(N, keep)
        explored = math.floor(eps * k + 1e-9)
        mean = None
        for epoch in (0, 3, 6):
            new = LOSSES[epoch]
            old = new if mean is None else mean
            mean = [0.8 * x + 0.2 * m for x, m in zip(new, old, strict=True)]
            greedy = largest([round(m, 6) for m in mean], k - explored)
            assert set(greedy) <= set(plans[epoch])
            assert len(plans[epoch]) == k
            assert plans[epoch] == plans[epoch + 1] == plans[epoch + 2]


def test_the_draw_is_uniform_over_all_the_others():
    epochs = 400
    selector = sw.Selector(sw.recipes.epsilon_greedy(keep=0.5, period=1, eps=0.5), N, epochs=epochs)
    draws = []
    for epoch in range(epochs):
        selector.observe(torch.arange(N), torch.tensor(LOSSES[0]), source="pass")
        draws.append(selector.plan(epoch).ids.tolist())
    found = shares(draws)
    greedy = largest(LOSSES[0], 2)
    assert greedy == [2, 6]
    for i in range(N):
        expected = 1.0 if i in greedy else 2 / 6
        assert close(found[i], expected, epochs), (i, found[i])


def test_eps_zero_is_the_plain_average():
    plain = trained(sw.recipes.uncertainty_ema(keep=0.5, period=2))[0]
    assert trained(sw.recipes.epsilon_greedy(keep=0.5, period=2, eps=0.0))[0] == plain


def test_eps_one_is_random_in_law():
    epochs = 400
    selector = sw.Selector(sw.recipes.epsilon_greedy(keep=0.5, period=1, eps=1.0), 4, epochs=epochs)
    draws = []
    for epoch in range(epochs):
        selector.observe(torch.arange(4), torch.tensor([9.0, 1.0, 0.0, 5.0]), source="pass")
        draws.append(tuple(selector.plan(epoch).ids.tolist()))
    assert len(set(draws)) == 6
    assert all(close(draws.count(pair) / epochs, 1 / 6, epochs) for pair in set(draws))
