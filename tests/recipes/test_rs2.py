"""`rs2`: random subsets without replacement from epoch to epoch."""

from collections import Counter
from itertools import combinations

import pytest
import torch
from plain import close, count

import samplewise as sw


@pytest.mark.parametrize(("n", "keep"), [(12, 0.25), (10, 0.3), (7, 0.6), (5, 0.01), (9, 1.0)])
def test_no_sample_comes_twice_before_every_sample_came_once(n, keep):
    epochs = 20
    selector = sw.Selector(sw.recipes.rs2(keep=keep), n, epochs=epochs, seed=1)
    times = Counter(dict.fromkeys(range(n), 0))
    for epoch in range(epochs):
        plan = selector.plan(epoch).ids.tolist()
        assert len(plan) == count(n, keep)
        lowest = min(times.values())
        waiting = [i for i in times if times[i] == lowest]
        assert set(plan) <= set(waiting) or set(waiting) <= set(plan)
        times.update(plan)
        assert max(times.values()) - min(times.values()) <= 1
    assert selector.ledger.scoring_forwards == 0


def test_every_round_is_a_uniform_draw():
    """The first epoch of a round is one of 6 subsets, each equally likely; the second is the rest."""
    epochs = 1200
    selector = sw.Selector(sw.recipes.rs2(keep=0.5), 4, epochs=epochs)
    plans = [tuple(selector.plan(epoch).ids.tolist()) for epoch in range(epochs)]
    assert all(sorted(plans[e] + plans[e + 1]) == [0, 1, 2, 3] for e in range(0, epochs, 2))
    drawn = Counter(plans[::2])
    assert set(drawn) == set(combinations(range(4), 2))
    assert all(close(times / 600, 1 / 6, 600) for times in drawn.values())


def test_a_resumed_training_goes_on_in_the_round():
    whole = sw.Selector(sw.recipes.rs2(keep=0.3), 20, epochs=8)
    plans = [whole.plan(epoch).ids.tolist() for epoch in range(8)]
    half = sw.Selector(sw.recipes.rs2(keep=0.3), 20, epochs=8)
    assert [half.plan(epoch).ids.tolist() for epoch in range(4)] == plans[:4]
    again = sw.Selector(sw.recipes.rs2(keep=0.3), 20, epochs=8)
    again.load_state_dict(half.state_dict())
    assert [again.plan(epoch).ids.tolist() for epoch in range(4, 8)] == plans[4:]


def test_without_counts_the_draw_is_uniform():
    pool = sw.pickers.Pool(6, torch.Generator().manual_seed(0))
    rows = sw.pickers.LeastUsed(0.5).pick(pool).rows
    assert rows is not None
    assert len(rows) == 3


def test_inside_classes_each_class_has_its_own_rounds():
    policy = sw.Policy(picker=sw.pickers.LeastUsed(0.5).balanced(True))
    selector = sw.Selector(policy, 8, epochs=6, labels=torch.arange(8) % 2)
    plans = [selector.plan(epoch).ids for epoch in range(6)]
    assert all((plan % 2).bincount().tolist() == [2, 2] for plan in plans)
    for first, second in zip(plans[::2], plans[1::2], strict=True):
        assert torch.cat([first, second]).sort().values.tolist() == list(range(8))
