"""`herding` (METHODS A12) against plain loops."""

import numpy as np
import pytest
import torch
from coreset_runs import recorded
from greedy_plain import by_class, column, herd, outputs, samples
from hypothesis import given, settings
from hypothesis import strategies as st

import samplewise as sw
from samplewise.pickers import greedy

N = 23


def plain(seed, keep):
    _, targets, features = samples(N, seed)
    return by_class(targets, keep, lambda rows, k: (herd([features[i] for i in rows], k), [1.0] * k)), targets


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 0.9])
def test_the_coreset_is_that_of_the_definition(seed, keep):
    selector, passes = recorded(sw.recipes.herding(keep=keep), [outputs(N, 50), outputs(N, seed)])
    found, targets = plain(seed, keep)
    assert passes == [1]
    assert selector.score().tolist() == column(found, targets)
    subset = selector.subset()
    assert subset.ids.tolist() == sorted(i for ids, _ in found.values() for i in ids)
    assert subset.weights is None


def test_one_run_serves_every_smaller_share():
    selector, _ = recorded(sw.recipes.herding(keep=0.9), [outputs(N, 1), outputs(N, 2)])
    for keep in (0.05, 0.2, 0.5, 0.7, 0.9):
        found, _ = plain(2, keep)
        assert selector.subset(keep=keep).ids.tolist() == sorted(i for ids, _ in found.values() for i in ids)


def test_a_larger_share_picks_again():
    selector, _ = recorded(sw.recipes.herding(keep=0.2), [outputs(N, 1), outputs(N, 2)])
    found, _ = plain(2, 0.8)
    assert selector.subset(keep=0.8).ids.tolist() == sorted(i for ids, _ in found.values() for i in ids)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 30), st.data())
def test_the_order_is_that_of_the_definition_for_any_features(seed, m, data):
    k = data.draw(st.integers(1, m))
    features = np.random.default_rng(seed).normal(3.0, 2.0, size=(m, 4)).round(4)
    assert greedy.herd(torch.tensor(features).float(), k).tolist() == herd(features, k)


def test_of_equal_samples_the_first_is_picked_first():
    assert greedy.herd(torch.tensor([[1.0, 2.0]] * 5), 4).tolist() == [0, 1, 2, 3]


def test_the_mean_of_the_picked_is_nearer_than_that_of_the_samples_argmax_takes():
    features = np.random.default_rng(0).normal(size=(200, 6))
    order = greedy.herd(torch.tensor(features).float(), 20).numpy()
    mean, total, far = features.mean(0), np.zeros(6), []
    for i in range(20):
        away = np.linalg.norm((i + 1) * mean - total - features, axis=1)
        far.append(int(np.argmax(np.where(np.isin(np.arange(200), far), -1, away))))
        total += features[far[-1]]
    missed = [np.linalg.norm(features[rows].mean(0) - mean) for rows in (order, far)]
    drawn = np.random.default_rng(1).choice(200, 20, replace=False)
    assert missed[0] < 0.2 * np.linalg.norm(features[drawn].mean(0) - mean)
    assert missed[0] < 0.2 * missed[1]


def test_scored_before_an_epoch_it_sees_the_model_of_that_moment():
    table = [outputs(N, seed) for seed in (3, 4, 5)]
    for at in (0, 1, 2):
        selector, passes = recorded(sw.recipes.herding(keep=0.4, at=at), table)
        found, targets = plain(3 + at, 0.4)
        assert passes == [at]
        assert selector.score().tolist() == column(found, targets)
