"""`kakurenbo` (METHODS B10) against plain loops."""

import math

import pytest
import torch
from plain import EPOCHS, LOSSES, N

import samplewise as sw

TARGETS = [0, 1, 0, 1, 0, 1, 0, 1]


def shown(ids, epoch):
    """Logits of two classes: easy samples are right and sure, sample 5 always wrong, sample 3 never sure."""
    logits = torch.zeros(N, 2)
    for i in range(N):
        sure = 0.2 if i == 3 else 3.0 - LOSSES[epoch][i]
        logits[i, TARGETS[i]] = -sure if i == 5 else sure
    targets = torch.tensor(TARGETS)
    return sw.Outputs(torch.tensor(LOSSES[epoch])[ids], logits[ids], targets[ids])


def facts(i, epoch):
    """Loss, right and confidence of one sample, in plain Python."""
    sure = 0.2 if i == 3 else 3.0 - LOSSES[epoch][i]
    margin = -sure if i == 5 else sure
    return LOSSES[epoch][i], margin > 0 or (margin == 0 and TARGETS[i] == 0), 1 / (1 + math.exp(-abs(margin)))


def factor(epoch, milestones):
    passed = sum(epoch >= share * EPOCHS - 1e-9 for share in milestones)
    return (1.0, 0.8, 0.6, 0.4)[passed]


def trained(**parameters):
    """Plans, refreshed ids and LR factors of one run."""
    selector = sw.Selector(sw.recipes.kakurenbo(**parameters), N, epochs=EPOCHS)
    plans, refreshed, factors = [], [], []
    for epoch in range(EPOCHS):
        due = selector.pass_due(epoch)
        ids = selector.pass_ids(epoch)
        assert due == (len(ids) > 0)
        if due:
            selector.observe(ids, shown(ids, epoch - 1), source="pass")
        refreshed.append(ids.tolist())
        factors.append(selector.lr_factor(epoch))
        plan = selector.plan(epoch)
        plans.append(plan.ids.tolist())
        assert plan.weights is None
        selector.observe(plan.ids, shown(plan.ids, epoch))
    return plans, refreshed, factors, selector


@pytest.mark.parametrize(
    ("keep", "tau", "milestones"),
    [
        (0.7, 0.7, (0.3, 0.6, 0.8)),
        (0.4, 0.6, (0.2, 0.5, 0.9)),
        (0.1, 0.9, (0.5, 0.5, 0.5)),
        (0.25, 0.0, (1, 1, 1)),
    ],
)
def test_the_trace_equals_plain_loops(keep, tau, milestones):
    plans, refreshed, factors, selector = trained(keep=keep, tau=tau, milestones=milestones)
    hidden = []
    for epoch in range(EPOCHS):
        assert refreshed[epoch] == hidden  # those hidden before are seen again, the others just trained
        most = (1 - keep) * factor(epoch, milestones)
        assert factors[epoch] == pytest.approx(1 / (1 - most))
        hidden = []
        if epoch:
            known = [facts(i, epoch - 1) for i in range(N)]
            easiest = sorted(range(N), key=lambda i: (known[i][0], i))[: math.floor(most * N + 1e-9)]
            hidden = sorted(i for i in easiest if known[i][1] and known[i][2] >= tau)
            assert len(hidden) <= int(most * N + 1e-9)
        assert plans[epoch] == [i for i in range(N) if i not in hidden]
    assert selector.ledger.scoring_forwards == sum(map(len, refreshed))
    assert 5 in set.intersection(*map(set, plans))


def test_wrong_and_unsure_samples_are_never_hidden():
    plans, *_ = trained(keep=0.01, tau=0.7)
    assert all({3, 5} <= set(plan) for plan in plans)
    assert any(len(plan) < N for plan in plans)


def test_keep_one_is_ordinary_training():
    plans, refreshed, factors, selector = trained(keep=1.0)
    assert plans == [list(range(N))] * EPOCHS
    assert refreshed == [[]] * EPOCHS
    assert factors == [1.0] * EPOCHS
    assert selector.ledger.scoring_forwards == 0


def test_the_actual_factor_follows_what_is_really_hidden():
    plans, _, factors, _ = trained(keep=0.4, lr_from_actual=True)
    assert factors == [pytest.approx(N / len(plan)) for plan in plans]
    assert len(set(factors)) > 1


def test_confidence_is_over_classes_and_not_over_the_batch():
    selector = sw.Selector("kakurenbo", 2, epochs=3)
    selector.plan(0)
    same = torch.tensor([[4.0, 0.0], [4.0, 0.0]])
    selector.observe(torch.arange(2), sw.Outputs(torch.zeros(2), same, torch.zeros(2, dtype=torch.int64)))
    assert selector.score("confidence").tolist() == pytest.approx([1 / (1 + math.exp(-4))] * 2)


@pytest.mark.parametrize("milestones", [(0.6, 0.3, 0.8), (0.3, 0.6, 1.2), (-0.1, 0.5, 0.6)])
def test_milestones_must_rise_within_the_training(milestones):
    with pytest.raises(ValueError, match=r"kakurenbo\.milestones must be three shares"):
        sw.recipes.kakurenbo(milestones=milestones)
