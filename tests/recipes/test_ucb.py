"""`ucb` (METHODS B5): mean plus c times variance, against plain loops."""

import torch
from plain import EPOCHS, LOSSES, N, count, largest
from test_uncertainty import trained

import samplewise as sw


def reference(period, keep, alpha, c):
    mean, variance, plans, bounds = None, [0.0] * N, [], []
    for epoch in range(EPOCHS):
        if epoch % period == 0:
            new = LOSSES[epoch]
            if mean is None:
                mean = list(new)
            else:
                for i in range(N):  # the variance first, with the mean of before
                    variance[i] = (1 - alpha) * variance[i] + alpha * (new[i] - mean[i]) ** 2
                    mean[i] = alpha * new[i] + (1 - alpha) * mean[i]
            bound = [m + c * v for m, v in zip(mean, variance, strict=True)]
            chosen = largest([round(b, 5) for b in bound], count(N, keep))
        plans.append(chosen)
        bounds.append(bound)
    return plans, bounds


def test_plans_and_bounds_equal_the_equations():
    for keep, period, alpha, c in ((0.5, 1, 0.8, 1.0), (0.3, 2, 0.8, 2.0), (0.7, 3, 0.5, 0.5)):
        plans, _, scores, _ = trained(sw.recipes.ucb(keep=keep, period=period, alpha=alpha, c=c))
        expected, bounds = reference(period, keep, alpha, c)
        torch.testing.assert_close(torch.tensor(scores), torch.tensor(bounds))
        assert plans == expected


def test_the_first_checkpoint_has_no_variance():
    *_, selector = trained(sw.recipes.ucb(), LOSSES[:1])
    assert selector.score("mean").tolist() == LOSSES[0]
    assert selector.score("variance").tolist() == [0.0] * N


def test_c_zero_is_the_plain_average():
    ucb = trained(sw.recipes.ucb(keep=0.4, period=2, c=0.0))
    ema = trained(sw.recipes.uncertainty_ema(keep=0.4, period=2))
    assert ucb[0] == ema[0]
    assert ucb[2] == ema[2]


def test_a_large_c_prefers_losses_that_move():
    plans, *_ = trained(sw.recipes.ucb(keep=0.5, period=1, alpha=0.5, c=50.0), [[1.0, 0.0], [1.0, 0.9]], n=2)
    assert plans == [[0], [1]]
