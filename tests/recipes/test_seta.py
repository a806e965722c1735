"""`seta` against plain loops: k-means round by round, the window by its formula, draws by their law."""

import math

import pytest
import torch
from plain import EPOCHS, LOSSES, N, close, count, shares

import samplewise as sw


def lloyd(losses, k):
    """Groups of ids by the rounds of k-means, from chunks of equally many different losses."""
    values = sorted(set(losses.values()))
    k = min(k, len(values))
    chunks = [values[j * len(values) // k : (j + 1) * len(values) // k] for j in range(k)]
    groups = [[i for i in losses if losses[i] in chunk] for chunk in chunks]
    while True:
        centres = [sum(losses[i] for i in group) / len(group) for group in groups]
        nearest = {
            i: min(range(len(centres)), key=lambda j: (abs(losses[i] - centres[j]), j)) for i in losses
        }
        moved = [[i for i in losses if nearest[i] == j] for j in range(len(centres))]
        moved = [group for group in moved if group]
        if moved == groups:
            return groups
        groups = moved


def inside(losses, k, alpha, step):
    groups = lloyd(losses, k)
    width = math.ceil(alpha * len(groups) - 1e-9)
    first = step % (len(groups) - width + 1)
    return sorted(i for group in groups[first : first + width] for i in group)


@pytest.mark.parametrize(("groups", "alpha"), [(5, 0.8), (4, 0.5), (3, 0.3), (2, 0.5), (8, 0.25), (1, 1.0)])
def test_a_trace_by_hand(groups, alpha):
    until = 0.875
    recipe = sw.recipes.seta(sampled=1.0, groups=groups, alpha=alpha, until=until)
    selector = sw.Selector(recipe, N, epochs=EPOCHS)
    last, sizes = {}, set()
    for epoch in range(EPOCHS):
        plan = selector.plan(epoch)
        wanted = list(range(N))
        if last and epoch < until * EPOCHS:
            wanted = inside(last, groups, alpha, epoch)
        assert plan.ids.tolist() == wanted
        assert plan.weights is None
        sizes.add(len(plan))
        selector.observe(plan.ids, torch.tensor(LOSSES[epoch])[plan.ids])
        last |= {i: LOSSES[epoch][i] for i in wanted}
        assert selector.score().tolist() == [last[i] for i in range(N)]
    assert selector.ledger.scoring_forwards == 0
    assert len(sizes) > 1 or groups == 1


def opened(losses, seed=0, epochs=100, **parameters):
    """A selector that observed a loss of every sample in epoch 0, also of those that it did not draw."""
    selector = sw.Selector(sw.recipes.seta(**parameters), len(losses), epochs=epochs, seed=seed)
    selector.plan(0)
    selector.observe(torch.arange(len(losses)), torch.tensor(losses))
    return selector


def test_the_draw_comes_first_and_only_the_drawn_are_grouped():
    # 3 of 4 are drawn. In epoch 1 the harder of two groups trains: the largest loss that was drawn.
    draws = [
        opened([0.0, 1.0, 10.0, 100.0], seed, sampled=0.75, groups=2, alpha=0.5).plan(1).ids.tolist()
        for seed in range(150)
    ]
    assert {tuple(drawn) for drawn in draws} == {(2,), (3,)}
    assert close(shares(draws)[2], 1 / 4, 150)


def test_without_losses_and_in_the_last_part_it_is_a_plain_draw():
    draws = []
    for seed in range(60):
        selector = opened([0.1 * i for i in range(8)], seed, 10, sampled=0.5, alpha=0.2)
        assert len(selector.plan(0)) == count(8, 0.5)
        draws.append(selector.plan(9).ids.tolist())
    assert {len(drawn) for drawn in draws} == {4}
    found = shares(draws)
    assert all(close(found[i], 0.5, len(draws)) for i in range(8))


def test_a_drawn_sample_without_a_loss_trains():
    selector = sw.Selector(sw.recipes.seta(sampled=1.0, groups=2, alpha=0.5), 5, epochs=9)
    selector.plan(0)
    selector.observe(torch.tensor([0, 1, 2, 3]), torch.tensor([1.0, 1.1, 5.0, 5.1]))
    assert selector.plan(1).ids.tolist() == [2, 3, 4]
    selector.set_epoch(2)
    assert selector.plan(2).ids.tolist() == [0, 1, 4]


def test_equal_losses_are_one_group():
    assert len(opened([0.3] * 50, sampled=1.0).plan(1)) == 50


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match=r"seta\.alpha must be in \(0, 1\], got 0"):
        sw.recipes.seta(alpha=0)
    with pytest.raises(ValueError, match=r"seta\.groups must be >= 1, got 0"):
        sw.recipes.seta(groups=0)
    with pytest.raises(ValueError, match=r"seta has no parameter 'keep'.*give sampled, groups and alpha"):
        sw.recipes.seta(keep=0.5)
