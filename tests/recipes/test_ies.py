"""`ies` against plain loops over every sample's history of losses."""

import math

import pytest
import torch
from plain import EPOCHS, LOSSES, N

import samplewise as sw


def score(history, differences):
    """Mean of the newest absolute second differences; None while there are too few."""
    if len(history) < differences + 2:
        return None
    found = [abs(history[t] - 2 * history[t - 1] + history[t - 2]) for t in range(2, len(history))]
    return sum(found[-differences:]) / differences


@pytest.mark.parametrize(("delta", "differences"), [(0.3, 1), (0.6, 1), (0.5, 3), (0.26, 2)])
def test_a_trace_by_hand(delta, differences):
    selector = sw.Selector(sw.recipes.ies(delta=delta, differences=differences), N, epochs=EPOCHS)
    history = [[] for _ in range(N)]
    left_out, passed, returned = [], 0, 0
    for epoch in range(EPOCHS):
        assert selector.pass_ids(epoch).tolist() == left_out
        if left_out:
            ids = torch.tensor(left_out)
            selector.observe(ids, torch.tensor(LOSSES[epoch - 1])[ids], source="pass")
            passed += len(ids)
        plan = selector.plan(epoch)
        scores = [score(losses, differences) for losses in history]
        wanted = [i for i in range(N) if scores[i] is None or scores[i] >= delta]
        assert plan.ids.tolist() == wanted
        assert plan.weights is None
        told = selector.score().tolist() if epoch else [math.nan] * N
        assert told == pytest.approx([math.nan if s is None else s for s in scores], nan_ok=True)
        returned += len(set(wanted) & set(left_out))
        left_out = [i for i in range(N) if i not in wanted]
        selector.observe(plan.ids, torch.tensor(LOSSES[epoch])[plan.ids])
        for i in range(N):  # trained or passed, every sample shows its loss of this epoch
            history[i].append(LOSSES[epoch][i])
    assert selector.ledger.scoring_forwards == passed > 0
    assert returned > 0


def test_an_epoch_that_starts_again_counts_once():
    shown = [[1.0, 1.0, 1.0], [0.8, 0.5, 0.9], [0.6, 0.4, 0.3]]
    selector = sw.Selector(sw.recipes.ies(delta=0.05), 3, epochs=9)
    ids = torch.arange(3)
    for epoch, losses in enumerate(shown):
        selector.plan(epoch)
        selector.observe(ids, torch.tensor([9.0, 9.0, 9.0]))  # left early, and begun again
        selector.observe(ids, torch.tensor(losses))
    assert selector.plan(3).ids.tolist() == [1, 2]
    assert selector.score().tolist() == pytest.approx([0.0, 0.4, 0.5], abs=1e-6)


def test_when_all_are_mastered_the_two_that_bend_most_train():
    selector = sw.Selector(sw.recipes.ies(delta=5.0), 4, epochs=9)
    for epoch, losses in enumerate([[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]]):
        selector.plan(epoch)
        selector.observe(torch.arange(4), torch.tensor(losses))
    assert selector.plan(3).ids.tolist() == [1, 3]


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match=r"ies\.delta must be >= 0, got -1"):
        sw.recipes.ies(delta=-1)
    with pytest.raises(ValueError, match=r"ies\.differences must be >= 1, got 0"):
        sw.recipes.ies(differences=0)
    with pytest.raises(ValueError, match=r"ies has no parameter 'keep'.*larger delta"):
        sw.recipes.ies(keep=0.5)
