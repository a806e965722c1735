"""`forgetting` (METHODS A3): falls from right to wrong, against plain loops."""

import math

import pytest
import torch
from trajectories import EPOCHS, LABELS, N, check_kept, outputs, right, scored

import samplewise as sw


def reference(never):
    scores = []
    for i in range(N):
        before, falls, learned = False, 0, False
        for epoch in range(EPOCHS):
            now = right(epoch, i)
            if before and not now:
                falls += 1
            learned = learned or now
            before = now
        scores.append(float(falls if learned else {"inf": math.inf, "zero": 0, "epochs": EPOCHS}[never]))
    return scores


@pytest.mark.parametrize("never", ["inf", "zero", "epochs"])
def test_the_scores_and_the_subsets_are_the_equations(never):
    expected = reference(never)
    assert expected[4] == 4.0
    assert expected[6] == {"inf": math.inf, "zero": 0.0, "epochs": 9.0}[never]
    selector, _ = scored(sw.recipes.forgetting(never=never))
    check_kept(selector, "forgetting", expected)


def test_a_sample_shown_once_is_zero_if_right_and_infinite_if_wrong():
    selector = sw.Selector("forgetting", 2, epochs=1)
    selector.plan(0)
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    targets = torch.tensor([0, 1])
    selector.observe(torch.arange(2), sw.Outputs(loss=torch.ones(2), logits=logits, targets=targets))
    selector.set_epoch(1)
    assert selector.score().tolist() == [0.0, math.inf]


def test_samples_that_were_never_shown_are_refused_with_their_number():
    selector = sw.Selector("forgetting", N, epochs=2, labels=LABELS)
    for epoch in range(2):
        selector.plan(epoch)
        selector.observe(torch.arange(5), outputs(right_logits(), torch.arange(5)))
    selector.set_epoch(2)
    assert selector.score()[5:].isnan().all()
    with pytest.raises(ValueError, match="3 of 8 samples were never observed"):
        selector.subset(keep=0.5)


def right_logits():
    return (10.0 * torch.nn.functional.one_hot(LABELS, 3)).tolist()


def test_infinite_scores_give_no_importance_weights():
    selector, _ = scored(sw.recipes.forgetting())
    with pytest.raises(ValueError, match=r"finite scores, but 1 of 8 of forgetting"):
        selector.subset(keep=0.5, weights="per_sample")
