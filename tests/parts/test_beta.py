"""The draw by score times a Beta density: its weights in plain Python, and the samples at its edges."""

import math

import pytest
import torch

from samplewise import pickers
from samplewise.pickers import BetaDrawn, Pool
from samplewise.rng import generator

M = 14
SCORES = [0.01 * (i * 5 % M + 1) for i in range(M)]
MEANS = [0.05 + 0.9 * (i * 3 % M) / M for i in range(M)]


def pool(scores, means, seed=0, **more):
    values = {"score": torch.tensor(scores), "probability": torch.tensor(means)}
    return Pool(len(scores), generator(seed), values, "score", **more)


@pytest.mark.parametrize(("keep", "exponent", "scale", "total"), [(0.3, 5.5, 15, 15), (0.6, 2, 6, 8)])
def test_the_density_starts_from_the_ten_highest_scores(keep, exponent, scale, total):
    ten = sorted(range(M), key=lambda i: -SCORES[i])[:10]
    b = scale * (1 - sum(MEANS[i] for i in ten) / 10) * (1 - (1 - keep) ** exponent)
    a = total - b
    expected = [s * p ** (a - 1) * (1 - p) ** (b - 1) for s, p in zip(SCORES, MEANS, strict=True)]
    found = BetaDrawn(keep, exponent, scale, total).log_weights(pool(SCORES, MEANS)).exp()
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_samples_of_score_0_come_last_in_a_random_order():
    scores, means = [0.0, 0.2, 0.0, 1e-30, 0.0], [1.0, 0.5, 0.0, 0.9, 0.3]
    assert BetaDrawn(0.4).pick(pool(scores, means)).rows.tolist() == [1, 3]
    drawn = {tuple(BetaDrawn(0.6).pick(pool(scores, means, seed)).rows.tolist()) for seed in range(40)}
    assert drawn == {(0, 1, 3), (1, 2, 3), (1, 3, 4)}
    assert len(BetaDrawn(0.4).pick(pool([0.0] * 5, [1.0] * 5)).rows) == 2


def test_samples_never_observed_come_first():
    scores, means = [0.1, math.nan, 0.3, 0.2], [0.5, math.nan, 0.4, 0.2]
    for seed in range(10):
        assert 1 in BetaDrawn(0.25).pick(pool(scores, means, seed)).rows.tolist()


@pytest.mark.parametrize("keep", [1e-6, 0.999999])
@pytest.mark.parametrize("means", [[0.0] * 4, [1.0] * 4, [0.0, 1.0, 0.5, 1e-40]])
def test_weights_are_finite_whatever_the_probabilities(keep, means):
    weights = BetaDrawn(keep).log_weights(pool([0.1, 0.2, 0.3, 0.4], means))
    assert bool(weights.isfinite().all())


def test_inside_classes_the_density_is_that_of_each_class():
    labels = torch.tensor([0] * 7 + [1] * 7)
    chosen = pickers.PerClass(BetaDrawn(0.5)).pick(pool(SCORES, MEANS, labels=labels)).rows
    rng = generator(0)
    first = BetaDrawn(0.5).take(pool(SCORES[:7], MEANS[:7])._replace(rng=rng), 4)
    second = 7 + BetaDrawn(0.5).take(pool(SCORES[7:], MEANS[7:])._replace(rng=rng), 3)
    assert chosen.tolist() == [*first.tolist(), *second.tolist()]


def test_a_total_below_the_scale_is_refused():
    with pytest.raises(ValueError, match=r"BetaDrawn.total must be at least 15, got 14"):
        BetaDrawn(0.5, total=14)
    with pytest.raises(ValueError, match=r"BetaDrawn.total must be a number, got 'half'"):
        BetaDrawn(0.5, total="half")
