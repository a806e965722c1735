"""`random` (METHODS A1): one uniform draw, kept for the whole training."""

import pytest
import torch
from plain import close, count, shares
from trajectories import EPOCHS, LABELS, TARGETS, N, scored

import samplewise as sw


def test_the_same_draw_is_kept_in_every_epoch():
    selector, plans = scored(sw.recipes.random(keep=0.5))
    assert len(plans) == EPOCHS
    assert all(plan == plans[0] for plan in plans)
    assert plans[0] == sorted(set(plans[0]))
    assert len(plans[0]) == count(N, 0.5)
    assert selector.subset().ids.tolist() == plans[0]


def test_the_seed_decides_and_nothing_is_observed():
    def drawn(seed):
        return sw.Selector("random", 1000, epochs=2, seed=seed).subset(keep=0.3).ids

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert len(drawn(1)) == 300
    assert not sw.Selector("random", 1000, epochs=2).pass_due(0)


def test_every_sample_is_as_likely():
    draws = [
        sw.Selector("random", N, epochs=1, seed=seed).subset(keep=0.4).ids.tolist() for seed in range(120)
    ]
    frequencies = shares(draws)
    assert all(close(frequencies[i], count(N, 0.4) / N, 120) for i in range(N))


@pytest.mark.parametrize("seed", range(5))
def test_balance_draws_inside_every_class(seed):
    selector = sw.Selector(sw.recipes.random(keep=0.7, balance=True), N, epochs=1, seed=seed, labels=LABELS)
    kept = selector.plan(0).ids.tolist()
    # 6 of 8: classes of 3, 3 and 2 samples have quotas 2.25, 2.25 and 1.5.
    assert [sum(TARGETS[i] == c for i in kept) for c in range(3)] == [2, 2, 2]
