"""`el2n` (METHODS A4): the mean distance from the label over the first epochs, against plain loops."""

import math

import pytest
from trajectories import EPOCHS, LOGITS, TARGETS, N, check_kept, hardest, probability, scored

import samplewise as sw


def reference(epochs):
    scores = []
    for i in range(N):
        total = 0.0
        for epoch in epochs:
            squares = 0.0
            for c, p in enumerate(probability(epoch, i)):
                squares += (p - (1.0 if c == TARGETS[i] else 0.0)) ** 2
            total += math.sqrt(squares)
        scores.append(total / len(epochs))
    return scores


def test_the_scores_and_the_subsets_are_the_equations():
    for first in (None, 1, 3, EPOCHS):
        epochs = range(EPOCHS if first is None else first)
        selector, _ = scored(sw.recipes.el2n(first=first))
        check_kept(selector, "el2n", reference(epochs))


def test_ten_epochs_are_enough_of_a_longer_training():
    longer = LOGITS + LOGITS[::-1]
    selector, plans = scored(sw.recipes.el2n(keep=0.5), longer)
    expected = reference([*range(EPOCHS), EPOCHS - 1])
    assert selector.score().tolist() == pytest.approx(expected, rel=1e-4)
    assert [len(plan) for plan in plans] == [N] * 10 + [4] * 8


def test_the_coreset_trains_from_the_epoch_after_the_last_recorded():
    _, plans = scored(sw.recipes.el2n(keep=0.5, first=3))
    assert plans == [list(range(N))] * 3 + [hardest(reference(range(3)), 0.5)] * (EPOCHS - 3)


def test_more_epochs_than_the_training_has_are_refused_when_built():
    with pytest.raises(ValueError, match=r"Mean.first must fit into a training of 9 epochs, got 10"):
        scored(sw.recipes.el2n(first=10))
    with pytest.raises(ValueError, match=r"el2n.first must be >= 1, got 0"):
        sw.recipes.el2n(first=0)
