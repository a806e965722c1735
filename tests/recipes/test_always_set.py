"""`always_set`: the given samples in every epoch, and uniform draws from all others, against plain counts."""

from collections import Counter

import pytest
import torch
from plain import LOSSES, close, count, largest

import samplewise as sw

N = 10
ALWAYS = sw.Subset(torch.tensor([1, 4, 8]), provenance={"n": N, "scoring": {"cost": 70.0, "seconds": 2.0}})


@pytest.mark.parametrize(("keep", "period"), [(0.5, 2), (0.3, 1), (0.72, 3), (1.0, 2)])
def test_the_given_samples_stay_and_the_others_change_at_checkpoints(keep, period):
    selector = sw.Selector(sw.recipes.always_set(ALWAYS, keep=keep, period=period), N, epochs=12)
    plans = [selector.plan(epoch).ids.tolist() for epoch in range(12)]
    for epoch, plan in enumerate(plans):
        assert len(set(plan)) == count(N, keep)
        assert {1, 4, 8} <= set(plan)
        assert plan == plans[epoch - epoch % period]
    if keep in (0.5, 0.72):
        assert len({tuple(plan) for plan in plans}) > 2
    assert selector.ledger.scoring_forwards == 0
    assert selector.ledger.prior_cost == 70.0


def test_the_draw_is_uniform_over_all_the_others():
    epochs = 600
    selector = sw.Selector(sw.recipes.always_set(ALWAYS, keep=0.5, period=1), N, epochs=epochs)
    drawn = Counter(i for epoch in range(epochs) for i in selector.plan(epoch).ids.tolist())
    for i in range(N):
        assert close(drawn[i] / epochs, 1.0 if i in (1, 4, 8) else 2 / 7, epochs)


def test_fixed_scores_with_epsilon_greedy_draw_floor_eps_k():
    scores = LOSSES[1] + [0.1, 0.2]
    provenance = {"n": N, "methods": {"el2n": "recipes.el2n()"}}
    table = sw.ScoreTable(range(N), {"el2n": torch.tensor(scores)}, [1] * N, provenance=provenance)
    greedy = table.subset("el2n", keep=(1 - 0.4) * 0.5)
    selector = sw.Selector(sw.recipes.always_set(greedy, keep=0.5, period=1), N, epochs=5)
    for epoch in range(5):
        plan = selector.plan(epoch).ids.tolist()
        assert len(plan) == 5
        assert set(largest(scores, 3)) <= set(plan)


def test_an_empty_subset_is_random_dynamic():
    """The same number of draws from the same generator."""
    none = sw.Subset(torch.empty(0, dtype=torch.int64))
    one = sw.Selector(sw.recipes.always_set(none, keep=0.4, period=2), N, epochs=6)
    other = sw.Selector(sw.recipes.random_dynamic(keep=0.4, period=2), N, epochs=6)
    for epoch in range(6):
        assert torch.equal(one.plan(epoch).ids, other.plan(epoch).ids)


def test_what_does_not_fit_is_refused_when_the_selector_is_built(tmp_path):
    with pytest.raises(ValueError, match=r"Always.keep must keep at least the 3 samples .* 2 of 10 samples"):
        sw.Selector(sw.recipes.always_set(ALWAYS, keep=0.2), N, epochs=3)
    with pytest.raises(ValueError, match=r"the subset was chosen from 10 samples, but this data set has 12"):
        sw.Selector(sw.recipes.always_set(ALWAYS), 12, epochs=3)
    with pytest.raises(ValueError, match=r"Always.subset must have no weights"):
        sw.recipes.always_set(sw.Subset(torch.tensor([1]), torch.tensor([2.0])))
    with pytest.raises(ValueError, match=r"Always cannot choose inside each class"):
        sw.recipes.always_set(ALWAYS).picker.balanced(True)
    ALWAYS.to_parquet(tmp_path / "always.parquet")
    read = sw.recipes.parse(f"always_set:subset={tmp_path / 'always.parquet'},keep=0.4")
    assert read.picker.subset.ids.tolist() == [1, 4, 8]
