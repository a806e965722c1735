"""`ccs` (METHODS A8) against plain loops: who is dropped, the strata, their budgets."""

import math
from collections import Counter

import pytest
import torch
from coreset_runs import recorded, shown, softmax
from plain import count

import samplewise as sw
from samplewise.rng import generator

N, EPOCHS = 30, 3
TARGETS = [i % 3 for i in range(N)]
noise = torch.randn(EPOCHS + 1, N, 3, generator=generator("ccs"))
HARD = torch.linspace(3, -1, N)[None, :, None] * torch.nn.functional.one_hot(torch.tensor(TARGETS), 3)
LOGITS = (noise + HARD).tolist()


def table():
    return [shown(z, TARGETS) for z in LOGITS]


def margins():
    """Minus the mean over the epochs of the probability margin."""
    found = []
    for i, y in enumerate(TARGETS):
        steps = []
        for epoch in range(EPOCHS):
            p = softmax(LOGITS[epoch][i])
            steps.append(p[y] - max(p[c] for c in range(3) if c != y))
        found.append(-sum(steps) / EPOCHS)
    return found


def strata_of(scores, ids, strata):
    low, high = min(scores[i] for i in ids), max(scores[i] for i in ids)
    return {i: min(strata - 1, int((scores[i] - low) / (high - low) * strata)) for i in ids}


def budgets_of(counts, strata, budget):
    budgets = {}
    for visited, (size, s) in enumerate(sorted((counts[s], s) for s in range(strata))):
        budgets[s] = min(size, budget // (strata - visited))
        budget -= budgets[s]
    return budgets


@pytest.mark.parametrize(
    ("keep", "beta", "strata"), [(0.5, None, 50), (0.1, None, 4), (0.3, 0.2, 5), (0.2, 0, 3)]
)
def test_the_hardest_are_dropped_and_the_strata_share_the_rest(keep, beta, strata):
    selector, passes = recorded(sw.recipes.ccs(keep=keep, beta=beta, strata=strata), table())
    scores = margins()
    assert passes == []
    torch.testing.assert_close(selector.score(), torch.tensor(scores))
    cut = math.floor({0.5: 0.0, 0.1: 0.3}.get(keep, beta) * N + 1e-9)
    hardest = sorted(range(N), key=lambda i: -scores[i])[:cut]
    rest = [i for i in range(N) if i not in hardest]
    stratum = strata_of(scores, rest, strata)
    chosen = selector.subset().ids.tolist()
    assert len(chosen) == count(N, keep)
    assert not set(chosen) & set(hardest)
    budgets = budgets_of(Counter(stratum.values()), strata, count(N, keep))
    assert Counter(stratum[i] for i in chosen) == Counter(budgets)


def test_another_share_brings_its_own_cut_off_and_another_seed_another_draw():
    selector, _ = recorded(sw.recipes.ccs(keep=0.5), table())
    scores = margins()
    hardest = set(sorted(range(N), key=lambda i: -scores[i])[:9])
    small = selector.subset(keep=0.1)
    assert not set(small.ids.tolist()) & hardest
    assert small.weights is None
    assert torch.equal(selector.subset(keep=0.1).ids, small.ids)
    other, _ = recorded(sw.recipes.ccs(keep=0.5), table(), seed=1)
    assert torch.equal(other.score(), selector.score())
    assert not torch.equal(other.subset().ids, selector.subset().ids)


def test_a_cut_off_that_leaves_too_few_names_beta():
    selector, _ = recorded(sw.recipes.ccs(keep=0.3, beta=0.6), table())
    assert len(selector.subset()) == 9
    with pytest.raises(
        ValueError, match=r"beta=0.6 drops the 18 hardest of 30 samples and leaves 12, but 15"
    ):
        selector.subset(keep=0.5)


def test_any_score_serves_and_is_recorded_as_its_own_method():
    entropy, passes = recorded(sw.recipes.ccs(score="entropy"), table())
    assert passes == [EPOCHS]
    assert torch.equal(entropy.score(), recorded(sw.recipes.entropy(), table())[0].score())
    el2n, _ = recorded(sw.recipes.ccs(score="el2n"), table())
    assert torch.equal(el2n.score(), recorded(sw.recipes.el2n(), table())[0].score())


def test_a_score_that_is_recorded_by_the_share_kept_is_recorded_for_this_share():
    few, many = (sw.recipes.ccs(keep=keep, score="tdds") for keep in (0.1, 0.5))
    assert few.tracker == sw.recipes.tdds(keep=0.1).tracker != many.tracker
    assert few.weighting == "none"


def test_a_score_that_never_was_learned_is_the_hardest():
    selector, _ = recorded(sw.recipes.ccs(keep=0.2, beta=0.5, score="forgetting"), table())
    scores = selector.score()
    assert scores.isposinf().any()
    cut = sorted(range(N), key=lambda i: (-float(scores[i]), i))[:15]
    assert not set(selector.subset().ids.tolist()) & set(cut)


@pytest.mark.parametrize("score", ["moderate", "random", "ccs", "ucb", "amu", "fixed"])
def test_what_has_no_score_of_its_own_is_refused(score):
    with pytest.raises(ValueError, match=r"ccs.score must be the name of a static method .*, got '" + score):
        sw.recipes.ccs(score=score)


def test_with_balance_classes_keep_their_shares():
    policy = sw.recipes.ccs(keep=0.3, balance=True)
    selector, _ = recorded(policy, table(), labels=torch.tensor(TARGETS))
    assert Counter(TARGETS[i] for i in selector.subset().ids.tolist()) == {0: 3, 1: 3, 2: 3}
