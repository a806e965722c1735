"""`eswp` (METHODS C7): Evolved Sampling on a subset drawn with P ~ s."""

import pytest
import torch
from plain import EPOCHS, LOSSES, N, close, count, inclusion, shares

import samplewise as sw


def test_a_trace_by_hand():
    beta1, beta2, keep, keep_epoch = 0.2, 0.8, 0.5, 0.6
    policy = sw.recipes.eswp(keep=keep, keep_epoch=keep_epoch)
    selector = sw.Selector(policy, N, epochs=EPOCHS)
    s, w = [1 / N] * N, [float("nan")] * N
    trained = scored = 0
    for epoch in range(EPOCHS):
        annealed = epoch in (0, EPOCHS - 1)
        ids = selector.plan(epoch).ids
        assert len(ids) == (N if annealed else count(N, keep_epoch))
        for batch in ids.split(4):
            selector.observe(batch, torch.tensor(LOSSES[epoch])[batch])
            for i in batch.tolist():
                w[i] = beta1 * s[i] + (1 - beta1) * LOSSES[epoch][i]
                s[i] = beta2 * s[i] + (1 - beta2) * LOSSES[epoch][i]
            kept = len(selector.choose(batch)[0])
            assert kept == (len(batch) if annealed else count(len(batch), keep, least=2))
            trained += kept
            scored += 0 if annealed else len(batch)
        # Samples that were left out keep their s.
        assert selector.score("score").tolist() == pytest.approx(s, rel=1e-5)
        assert selector.score().tolist() == pytest.approx(w, rel=1e-5, nan_ok=True)
    assert selector.ledger.scoring_forwards == scored
    assert trained == 2 * N + (EPOCHS - 2) * (2 + 1)  # 5 of 8, in batches of 4 and of 1


def subsets(losses, epochs=400, **parameters):
    """What is planned for many epochs after epoch 0 showed `losses`, with nothing seen since."""
    n = len(losses)
    selector = sw.Selector(sw.recipes.eswp(anneal=1e-9, **parameters), n, epochs=epochs)
    selector.plan(0)
    selector.observe(torch.arange(n), torch.tensor(losses))
    return [selector.plan(epoch).ids.tolist() for epoch in range(1, epochs - 1)]


def test_the_subset_is_drawn_by_the_score_and_not_by_the_weight():
    losses = [0.0, 1.0, 6.0, 2.0]
    draws = subsets(losses, keep_epoch=0.5, beta1=0.0, beta2=0.5)
    s = [0.5 / 4 + 0.5 * loss for loss in losses]
    found = shares(draws)
    for i, chance in enumerate(inclusion(s, 2)):
        assert close(found.get(i, 0.0), chance, len(draws)), (i, found.get(i), chance)
    # By w = loss, sample 0 would never be drawn.
    assert found[0] > 0


def test_without_annealing_the_first_subset_is_uniform():
    epochs = 400
    selector = sw.Selector(sw.recipes.eswp(keep_epoch=0.5, anneal=0.0), 4, epochs=epochs)
    draws = [tuple(selector.plan(epoch).ids.tolist()) for epoch in range(epochs)]  # nothing is ever seen
    assert len(set(draws)) == 6
    assert all(close(draws.count(pair) / epochs, 1 / 6, epochs) for pair in set(draws))


def test_the_share_that_trains_outside_annealing_is_the_product():
    n, batch, epochs = 80, 16, 6
    selector = sw.Selector("eswp", n, epochs=epochs)
    trained = []
    for epoch in range(epochs):
        ids = selector.plan(epoch).ids
        kept = 0
        for part in ids.split(batch):
            selector.observe(part, torch.ones(len(part)))
            kept += len(selector.choose(part)[0])
        trained.append(kept)
    assert trained == [80, 16, 16, 16, 16, 80]  # (1 - r) b / B = 20 % of 80
