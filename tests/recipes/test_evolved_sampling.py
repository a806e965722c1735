"""`evolved_sampling` (METHODS C6) against plain loops, its limits, and the law of its draws."""

import pytest
import torch
from plain import EPOCHS, LOSSES, N, close, count, inclusion, shares
from test_loss_sampling import DRAWS, drawn

import samplewise as sw

BATCHES = ([3, 0, 6, 5, 1], [7, 2, 4])


@pytest.mark.parametrize(("beta1", "beta2"), [(0.2, 0.9), (0.5, 0.5), (0.0, 0.8), (1.0, 0.9), (0.7, 0.0)])
def test_weights_and_scores_equal_plain_loops(beta1, beta2):
    selector = sw.Selector(sw.recipes.evolved_sampling(beta1=beta1, beta2=beta2), N, epochs=EPOCHS)
    s, w = [1 / N] * N, [0.0] * N
    for epoch in range(EPOCHS):
        selector.plan(epoch)
        for ids in BATCHES:
            batch = torch.tensor(ids)
            selector.observe(batch, torch.tensor(LOSSES[epoch])[batch])
            for i in ids:
                w[i] = beta1 * s[i] + (1 - beta1) * LOSSES[epoch][i]  # with the s of the visit before
                s[i] = beta2 * s[i] + (1 - beta2) * LOSSES[epoch][i]
            rows, weights = selector.choose(batch)
            annealed = epoch in (0, EPOCHS - 1)
            assert len(rows) == (len(ids) if annealed else count(len(ids), 0.25, least=2))
            assert weights is None
        assert selector.score().tolist() == pytest.approx(w, rel=1e-5, abs=1e-7)
        assert selector.score("score").tolist() == pytest.approx(s, rel=1e-5, abs=1e-7)


def follows(policy, expected, before, losses, k):
    found = shares(drawn(policy, losses, epoch=len(before), epochs=len(before) + 2, before=before))
    for i, chance in enumerate(inclusion(expected, k)):
        assert close(found.get(i, 0.0), chance, DRAWS), (i, found.get(i), chance)


def test_draws_follow_the_weight_with_the_old_score():
    before, now = [[4.0, 1.0, 0.5, 2.0, 1.0]], [0.5, 1.0, 3.0, 0.25, 1.0]
    s = [0.9 / 5 + 0.1 * x for x in before[0]]
    w = [0.2 * a + 0.8 * b for a, b in zip(s, now, strict=True)]
    follows(sw.recipes.evolved_sampling(keep=0.4), w, before, now, 2)


def test_beta1_zero_is_loss_sampling_whatever_beta2():
    before, now = [[4.0, 1.0, 0.5, 2.0]], [0.5, 1.0, 3.0, 0.25]
    for beta2 in (0.0, 0.9):
        follows(sw.recipes.evolved_sampling(keep=0.5, beta1=0.0, beta2=beta2), now, before, now, 2)


def test_beta1_one_samples_by_the_old_score_alone():
    before, now = [[4.0, 1.0, 0.5, 2.0]], [9.0, 0.0, 0.0, 9.0]
    s = [0.5 / 4 + 0.5 * x for x in before[0]]
    follows(sw.recipes.evolved_sampling(keep=0.5, beta1=1.0, beta2=0.5), s, before, now, 2)


def test_equal_betas_are_a_single_average():
    selector = sw.Selector(sw.recipes.evolved_sampling(beta1=0.6, beta2=0.6), N, epochs=EPOCHS)
    for epoch in range(EPOCHS):
        selector.plan(epoch)
        selector.observe(torch.arange(N), torch.tensor(LOSSES[epoch]))
        assert torch.equal(selector.score("weight"), selector.score("score"))


def test_equal_losses_are_drawn_uniformly():
    found = shares(drawn(sw.recipes.evolved_sampling(keep=0.5), [0.7] * 6, 1, 3, before=[[0.7] * 6]))
    assert all(close(found[i], 0.5, DRAWS) for i in range(6))


@pytest.mark.parametrize(
    ("epochs", "ends"), [(3, 1), (8, 1), (10, 1), (30, 2), (50, 3), (90, 5), (100, 5), (200, 10)]
)
def test_whole_epochs_are_annealed_at_both_ends(epochs, ends):
    policy = sw.recipes.evolved_sampling(keep=0.5)
    n, batch = 8, 4
    selector = sw.Selector(policy, n, epochs=epochs)
    trained = scored = 0
    for epoch in range(epochs):
        selector.plan(epoch)
        for ids in torch.arange(n).split(batch):
            selector.observe(ids, torch.ones(batch))
            kept = len(selector.choose(ids)[0])
            assert kept == (batch if epoch < ends or epoch >= epochs - ends else batch // 2)
            trained += kept
            scored += 0 if kept == batch else batch
    assert trained == 2 * ends * n + (epochs - 2 * ends) * n // 2  # METHODS D8
    assert scored == (epochs - 2 * ends) * n == selector.ledger.scoring_forwards


def test_no_annealing_is_possible_and_keep_one_is_ordinary():
    selector = sw.Selector(sw.recipes.evolved_sampling(anneal=0.0), N, epochs=1)
    selector.plan(0)
    selector.observe(torch.arange(N), torch.tensor(LOSSES[0]))
    assert len(selector.choose(torch.arange(N))[0]) == 2
    whole = sw.Selector(sw.recipes.evolved_sampling(keep=1.0), N, epochs=2)
    whole.plan(0)
    assert whole.choose(torch.arange(N))[0].tolist() == list(range(N))


def test_too_few_epochs_for_the_annealing_are_refused():
    with pytest.raises(ValueError, match="epochs must be more than 2 x 1 annealing epochs"):
        sw.Selector("evolved_sampling", N, epochs=2)
