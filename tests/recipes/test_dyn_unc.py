"""`dyn_unc` (METHODS A9): the mean over windows of the unbiased deviation, against plain loops."""

import math
import statistics

import pytest
from trajectories import EPOCHS, LOGITS, TARGETS, N, check_kept, hardest, probability, scored

import samplewise as sw


def reference(window, epochs=range(EPOCHS)):
    scores = []
    for i in range(N):
        series = [probability(epoch, i)[TARGETS[i]] for epoch in epochs]
        total, windows = 0.0, 0
        for first in range(len(series) - window + 1):
            inside = series[first : first + window]
            mean = sum(inside) / window
            total += math.sqrt(sum((q - mean) ** 2 for q in inside) / (window - 1))
            windows += 1
        scores.append(total / windows)
    return scores


@pytest.mark.parametrize(("window", "used"), [(None, 9), (2, 2), (4, 4), (9, 9)])
def test_the_scores_and_the_subsets_are_the_equations(window, used):
    selector, _ = scored(sw.recipes.dyn_unc(window=window))
    check_kept(selector, "dyn_unc", reference(used))


def test_the_window_has_ten_epochs_in_a_longer_training():
    selector, _ = scored(sw.recipes.dyn_unc(), LOGITS + LOGITS[::-1])
    expected = reference(10, [*range(EPOCHS), *reversed(range(EPOCHS))])
    assert selector.score().tolist() == pytest.approx(expected, rel=1e-3)


def test_one_window_over_the_whole_run_ranks_as_the_variance_does():
    selector, _ = scored(sw.recipes.dyn_unc(window=EPOCHS))
    variances = []
    for i in range(N):
        series = [probability(epoch, i)[TARGETS[i]] for epoch in range(EPOCHS)]
        variances.append(statistics.pvariance(series))
    ranked = [round(variance, 7) for variance in variances]
    assert len(set(ranked)) >= 4
    for keep in (0.2, 0.5, 0.7):
        assert selector.subset(keep=keep).ids.tolist() == hardest(ranked, keep)


def test_trainings_too_short_are_refused_when_built():
    with pytest.raises(ValueError, match=r"WindowSpread.window must fit into a training of 9 epochs, got 10"):
        scored(sw.recipes.dyn_unc(window=10))
    with pytest.raises(ValueError, match=r"WindowSpread.window must fit into a training of 1 epoch, got 2"):
        sw.Selector("dyn_unc", N, epochs=1)
    with pytest.raises(ValueError, match=r"dyn_unc.window must be >= 2, got 1"):
        sw.recipes.dyn_unc(window=1)
