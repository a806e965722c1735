"""`dual`: difficulty times uncertainty over windows, and the draw by a Beta density, against plain loops."""

import math
from collections import Counter

import pytest
import torch
from trajectories import EPOCHS, TARGETS, N, check_kept, hardest, probability, scored

import samplewise as sw
from samplewise.pickers import Pool
from samplewise.pickers.beta import parameters
from samplewise.recipes.dual import PUBLISHED
from samplewise.rng import generator


def series(i, epochs):
    return [probability(epoch, i)[TARGETS[i]] for epoch in range(epochs)]


def reference(epochs, window):
    """The score of every sample from its first `epochs` (T) in windows of `window` (J)."""
    scores = []
    for i in range(N):
        found = []
        for first in range(epochs - window + 1):
            inside = series(i, epochs)[first : first + window]
            mean = sum(inside) / window
            spread = math.sqrt(sum((p - mean) ** 2 for p in inside) / (window - 1))
            found.append((1 - mean) * spread)
        scores.append(sum(found) / len(found))
    return scores


def weights(epochs, window, keep, exponent, total=15.0):
    """The weight of every sample in the draw: its score times the Beta density at its mean probability."""
    scores = reference(epochs, window)
    means = [sum(series(i, epochs)) / epochs for i in range(N)]
    b = 15.0 * (1 - sum(means) / N) * (1 - (1 - keep) ** exponent)  # all 8 are among the 10 highest
    a = total - b
    constant = math.gamma(a + b) / math.gamma(a) / math.gamma(b)
    return [s * constant * p ** (a - 1) * (1 - p) ** (b - 1) for s, p in zip(scores, means, strict=True)]


def inclusion(weights, k):
    """How likely each sample is among k drawn one after the other, each by its weight among those left."""
    total, found = sum(weights), [0.0] * len(weights)
    if k:
        for i, weight in enumerate(weights):
            rest = inclusion([0 if j == i else w for j, w in enumerate(weights)], k - 1)
            found = [
                f + weight / total * (r + (j == i)) for j, (f, r) in enumerate(zip(found, rest, strict=True))
            ]
    return found


@pytest.mark.parametrize(("epochs", "window"), [(9, 4), (6, 3), (5, 5), (2, 2)])
def test_the_scores_and_the_highest_of_them_are_the_equations(epochs, window):
    selector, plans = scored(sw.recipes.dual(T=epochs, window=window, choice="top"))
    check_kept(selector, "dual", reference(epochs, window))
    assert plans[:epochs] == [list(range(N))] * epochs
    assert plans[epochs:] == [hardest(reference(epochs, window), 0.5)] * (EPOCHS - epochs)


def test_the_mean_probability_of_the_recorded_epochs_is_beside_the_score():
    selector, _ = scored(sw.recipes.dual(T=6, window=3))
    means = selector.table().columns["dual_probability"]
    assert means.tolist() == pytest.approx([sum(series(i, 6)) / 6 for i in range(N)], rel=1e-5)


@pytest.mark.parametrize(
    ("keep", "options", "exponent", "total"),
    [
        (0.25, {}, 5.5, 15.0),
        (0.5, {"data": "cifar100"}, 4.0, 15.0),
        (0.125, {"exponent": 2.0, "total": 16.0}, 2.0, 16.0),
    ],
)
def test_samples_are_drawn_by_score_times_beta_density(keep, options, exponent, total):
    selector, _ = scored(sw.recipes.dual(keep, T=6, window=3, **options))
    columns, draws = selector.table().columns, 3000
    memory = {"score": columns["dual"], "probability": columns["dual_probability"]}
    picker = sw.recipes.dual(keep, **options).picker
    pools = (Pool(N, generator(seed), memory, "score") for seed in range(draws))
    seen = Counter(i for pool in pools for i in picker.pick(pool).rows.tolist())
    expected = inclusion(weights(6, 3, keep, exponent, total), round(keep * N))
    assert [seen[i] / draws for i in range(N)] == pytest.approx(expected, abs=0.04)


def test_the_smaller_the_share_kept_the_easier_are_the_samples():
    easy = [parameters(keep, 0.3, 5.5) for keep in (0.9, 0.5, 0.3, 0.1)]
    modes = [a / (a + b) for a, b in easy]
    assert modes == sorted(modes)
    assert modes[0] == pytest.approx(0.3, abs=0.001)
    assert modes[-1] == pytest.approx(1 - 0.7 * (1 - 0.9**5.5))


def test_a_draw_depends_on_the_seed_alone():
    selector, _ = scored(sw.recipes.dual(0.5, T=6, window=3))
    table = selector.table()
    assert selector.subset().ids.tolist() == table.subset("dual").ids.tolist()
    assert len({tuple(table.subset("dual", seed=seed).ids.tolist()) for seed in range(20)}) > 5


@pytest.mark.parametrize(
    ("data", "epochs", "last", "window"),
    [
        ("cifar10", 200, 30, 10),
        ("cifar100", 100, 15, 10),
        ("cifar10", 20, 10, 10),  # a window is never cut to save epochs
        ("cifar10", 9, 9, 9),
        ("imagenet", 90, 60, 10),
        ("imagenet", 30, 20, 10),
    ],
)
def test_the_epochs_recorded_scale_with_the_training_but_hold_a_window(data, epochs, last, window):
    tracker = sw.recipes.dual(data=data).tracker.within(epochs)
    assert (tracker.T, tracker.window) == (last, window)


def test_the_published_numbers():
    assert PUBLISHED == {"cifar10": (30, 200, 5.5), "cifar100": (30, 200, 4.0), "imagenet": (60, 90, 11.0)}


def test_a_sample_that_was_missing_in_a_window_does_not_count_there():
    selector = sw.Selector(sw.recipes.dual(0.5, T=4, window=2), 2, epochs=4)
    shown = [(0.2, 0.5), (0.6, 0.1), (0.4, None), (0.9, 0.3)]
    for epoch, (first, second) in enumerate(shown):
        selector.plan(epoch)
        p = [q for q in (first, second) if q is not None]
        z = torch.tensor([[math.log(q), math.log(1 - q)] for q in p])
        ids = torch.tensor([i for i, q in enumerate((first, second)) if q is not None])
        targets = torch.zeros(len(p), dtype=torch.int64)
        selector.observe(ids, sw.Outputs(loss=torch.zeros(len(p)), logits=z, targets=targets))
    selector.set_epoch(4)
    only = (1 - 0.3) * math.sqrt(0.08)  # of 0.5 and 0.1; the other windows have a gap
    assert selector.score()[1].item() == pytest.approx(only, rel=1e-5)
    assert selector.table().columns["dual_probability"][1].item() == pytest.approx(0.3, rel=1e-5)


def test_numbers_that_cannot_be_are_refused_when_built():
    with pytest.raises(ValueError, match=r"T must fit into a training of 9 epochs, got 10"):
        scored(sw.recipes.dual(T=10))
    with pytest.raises(ValueError, match=r"window must fit into a training of 1 epoch, got 2"):
        sw.Selector("dual", N, epochs=1)
    with pytest.raises(ValueError, match=r"T must be at least the window of 5, got 4"):
        sw.recipes.dual(T=4, window=5)
    with pytest.raises(ValueError, match=r"total must be at least 15, got 14"):
        sw.recipes.dual(total=14.0)
