"""`svp` (METHODS A11): another method's score under its own name."""

import pytest
import torch
from coreset_runs import recorded, shown
from test_ccs import TARGETS, table

import samplewise as sw


@pytest.mark.parametrize("score", ["forgetting", "entropy"])
@pytest.mark.parametrize("balance", [False, True])
def test_it_keeps_what_the_score_of_the_proxy_keeps(score, balance):
    labels = torch.tensor(TARGETS)
    own, passes = recorded(sw.recipes.svp(keep=0.3, score=score, balance=balance), table(), labels=labels)
    made = sw.recipes.get(score)(keep=0.3, balance=balance)
    other, expected = recorded(made, table(), labels=labels)
    assert passes == expected
    assert torch.equal(own.score(), other.score())
    assert torch.equal(own.subset().ids, other.subset().ids)
    assert list(own.table().columns) == ["svp"]


def test_a_sample_that_was_never_right_comes_first_and_then_the_most_forgotten():
    right, wrong = [3.0, 0.0], [0.0, 3.0]
    epochs = [  # forgotten: 0, 1, 2 times, and never right
        [right, right, right, wrong],
        [right, wrong, wrong, wrong],
        [right, right, right, wrong],
        [right, right, wrong, wrong],
        [right] * 4,
    ]
    selector, _ = recorded(sw.recipes.svp(keep=0.5), [shown(z, [0] * 4) for z in epochs])
    assert selector.score().tolist() == [0.0, 1.0, 2.0, float("inf")]
    assert selector.subset().ids.tolist() == [2, 3]


def test_the_score_is_one_of_two():
    with pytest.raises(ValueError, match=r"svp.score must be one of 'forgetting', 'entropy', got 'el2n'"):
        sw.recipes.svp(score="el2n")
    assert sw.recipes.svp() == sw.recipes.svp(score="forgetting")
