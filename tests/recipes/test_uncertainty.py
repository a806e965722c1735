"""`uncertainty` and `uncertainty_ema` (METHODS B2, B3) against plain loops."""

import pytest
import torch
from plain import EPOCHS, LOSSES, N, count, largest

import samplewise as sw


def trained(policy, losses=LOSSES, n=N, seed=0):
    """Plans, passes and the ranking column of a run whose passes see `losses`."""
    selector = sw.Selector(policy, n, epochs=len(losses), seed=seed)
    plans, passes, scores = [], [], []
    for epoch, now in enumerate(losses):
        if selector.pass_due(epoch):
            passes.append(epoch)
            ids = selector.pass_ids(epoch)
            selector.observe(ids, torch.tensor(now)[ids], source="pass")
        plans.append(selector.plan(epoch).ids.tolist())
        # What training shows must not matter: only checkpoints count.
        selector.observe(torch.arange(n), torch.rand(n, generator=torch.Generator().manual_seed(epoch)))
        scores.append(selector.score().tolist())
    return plans, passes, scores, selector


def reference(period, keep, alpha):
    mean, plans, means = None, [], []
    for epoch in range(EPOCHS):
        if epoch % period == 0:
            new = LOSSES[epoch]
            if mean is None:
                mean = list(new)
            else:
                mean = [alpha * x + (1 - alpha) * m for x, m in zip(new, mean, strict=True)]
            chosen = largest([round(m, 6) for m in mean], count(N, keep))
        plans.append(chosen)
        means.append(list(mean))
    return plans, means


def test_uncertainty_keeps_the_largest_losses_of_each_checkpoint():
    for keep, period in ((0.5, 3), (0.3, 2), (0.7, 4)):
        plans, passes, _, selector = trained(sw.recipes.uncertainty(keep=keep, period=period))
        assert plans == reference(period, keep, alpha=1.0)[0]
        assert passes == list(range(0, EPOCHS, period))
        # D8: ceil(T / T_p) n scoring forwards; what training showed is counted, and ignored.
        assert selector.ledger.scoring_forwards == -(-EPOCHS // period) * N
        assert selector.ledger.ignored_observations == EPOCHS * N


def test_equal_losses_are_kept_in_the_order_of_the_samples():
    plans, *_ = trained(sw.recipes.uncertainty(keep=0.5, period=1), [[1.0] * N] * 2)
    assert plans == [[0, 1, 2, 3]] * 2


def test_uncertainty_ema_averages_over_checkpoints_with_alpha_on_the_newest():
    for keep, period, alpha in ((0.5, 3, 0.8), (0.3, 2, 0.5), (0.7, 1, 0.9)):
        plans, _, scores, _ = trained(sw.recipes.uncertainty_ema(keep=keep, period=period, alpha=alpha))
        expected, means = reference(period, keep, alpha)
        assert plans == expected
        torch.testing.assert_close(torch.tensor(scores), torch.tensor(means))


def test_alpha_one_is_plain_uncertainty():
    ema = trained(sw.recipes.uncertainty_ema(keep=0.5, period=2, alpha=1.0))
    assert ema[0] == trained(sw.recipes.uncertainty(keep=0.5, period=2))[0]


def test_the_first_checkpoint_starts_the_average():
    *_, scores, _ = trained(sw.recipes.uncertainty_ema(period=3, alpha=0.1))
    assert scores[0] == LOSSES[0]


def test_a_plan_without_its_pass_is_refused():
    selector = sw.Selector("uncertainty", N, epochs=3)
    with pytest.raises(ValueError, match="needs a pass before epoch 0: 8 samples"):
        selector.plan(0)
