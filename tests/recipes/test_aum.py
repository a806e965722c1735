"""`aum` (METHODS A6, G.3): minus the mean margin over all epochs, against plain loops."""

import pytest
from trajectories import CLASSES, EPOCHS, LOGITS, TARGETS, N, check_kept, probability, scored

import samplewise as sw


def reference(of):
    scores = []
    for i in range(N):
        total = 0.0
        for epoch in range(EPOCHS):
            values = probability(epoch, i) if of == "probability" else LOGITS[epoch][i]
            total += values[TARGETS[i]] - max(values[c] for c in range(CLASSES) if c != TARGETS[i])
        scores.append(-total / EPOCHS)
    return scores


@pytest.mark.parametrize("of", ["probability", "logit"])
def test_the_scores_and_the_subsets_are_the_equations(of):
    selector, _ = scored(sw.recipes.aum(of=of))
    check_kept(selector, "aum", reference(of))


@pytest.mark.parametrize("of", ["probability", "logit"])
def test_highest_keeps_the_largest_margins(of):
    selector, _ = scored(sw.recipes.aum(of=of, highest=True))
    check_kept(selector, "aum", [-score for score in reference(of)])


def test_what_was_never_learned_is_kept_and_what_was_learned_first_is_not():
    selector, _ = scored(sw.recipes.aum(keep=0.2))
    column = selector.score()
    assert (column.abs() <= 1).all()
    assert column.argmax() == 6
    assert column.argmin() == 0
    assert selector.subset().ids.tolist() == [4, 6]


def test_the_score_is_final_after_the_last_epoch_only():
    selector = sw.Selector("aum", N, epochs=EPOCHS)
    selector.plan(0)
    with pytest.raises(ValueError, match="aum"):
        selector.subset(keep=0.5)
