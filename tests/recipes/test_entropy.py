"""`entropy` (METHODS A2) against plain loops."""

import math

import pytest
import torch
from coreset_runs import recorded, shown, softmax
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import count, largest

import samplewise as sw
from samplewise import signals

TARGETS = [0, 1, 2, 0, 1, 2, 0]
TABLE = [  # what the passes before epochs 0, 1, 2 show, of 7 samples and 3 classes
    [[0.0, 0.5, 0.0]] * 6 + [[9.0, 0.0, 0.0]],
    [[k, 0.0, -k] for k in (0.5, 3.0, 1.0, 0.0, 2.0, 4.0, 1.5)],
    [[k, 1.0, 0.0] for k in (1.0, 2.0, 500.0, 4.0, 0.0, -300.0, 3.0)],
]


def plain(z):
    return -sum(p * math.log(p) for p in softmax(z) if p > 0)


@pytest.mark.parametrize(("at", "epoch"), [("end", 2), (0, 0), (1, 1), (2, 2)])
@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8])
def test_the_kept_are_the_least_certain_in_the_pass_asked_for(at, epoch, keep):
    selector, passes = recorded(sw.recipes.entropy(keep=keep, at=at), [shown(z, TARGETS) for z in TABLE])
    expected = [plain(z) for z in TABLE[epoch]]
    assert passes == [epoch]
    torch.testing.assert_close(selector.score(), torch.tensor(expected))
    ranked = largest([round(value, 5) for value in expected], count(7, keep))
    assert selector.subset().ids.tolist() == ranked
    assert list(selector.table().columns) == ["entropy"]


def test_every_sample_trains_until_the_score_is_known_and_the_coreset_from_then_on():
    selector = sw.Selector(sw.recipes.entropy(keep=0.5, at=1), 7, epochs=3)
    assert selector.plan(0).ids.tolist() == list(range(7))
    assert selector.pass_ids(1).tolist() == list(range(7))
    selector.observe(torch.arange(7), shown(TABLE[1], TARGETS), source="pass")
    expected = largest([round(plain(z), 5) for z in TABLE[1]], count(7, 0.5))
    assert selector.plan(1).ids.tolist() == selector.plan(2).ids.tolist() == expected


def test_balance_keeps_every_class():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    policy = sw.recipes.entropy(keep=0.5, balance=True)
    selector, _ = recorded(policy, [shown(z, labels.tolist()) for z in TABLE], labels=labels)
    scores = [round(plain(z), 5) for z in TABLE[2]]
    own = largest(scores[:4], 2) + [4 + i for i in largest(scores[4:], 2)]
    assert selector.subset().ids.tolist() == own


@settings(max_examples=80)
@given(st.lists(st.floats(-900, 900, width=32), min_size=2, max_size=12), st.floats(-100, 100, width=32))
def test_entropy_is_between_0_and_ln_c_and_ignores_a_constant(z, constant):
    logits = torch.tensor([z], dtype=torch.float64)
    found = float(signals.entropy(logits))
    assert -1e-12 <= found <= math.log(len(z)) + 1e-12
    assert found == pytest.approx(plain(z), abs=1e-9)
    assert float(signals.entropy(logits + constant)) == pytest.approx(found, abs=1e-9)


def test_a_probability_of_zero_adds_nothing():
    assert signals.entropy(torch.tensor([[0.0, -1e4], [float("-inf"), 3.0]])).tolist() == [0.0, 0.0]


def test_permuting_the_samples_permutes_the_scores():
    shuffle = [3, 5, 0, 6, 2, 1, 4]
    straight, _ = recorded(sw.recipes.entropy(), [shown(z, TARGETS) for z in TABLE])
    mixed = [shown([z[i] for i in shuffle], [TARGETS[i] for i in shuffle]) for z in TABLE]
    permuted, _ = recorded(sw.recipes.entropy(), mixed)
    assert torch.equal(permuted.score(), straight.score()[shuffle])
    assert {shuffle[i] for i in permuted.subset().ids.tolist()} == set(straight.subset().ids.tolist())


def test_at_is_an_epoch_or_the_end():
    with pytest.raises(ValueError, match=r"entropy.at must be >= 0, got -1"):
        sw.recipes.entropy(at=-1)
    with pytest.raises(ValueError, match=r"entropy.at must be a number or one of 'end', got 'ends'"):
        sw.recipes.entropy(at="ends")
    with pytest.raises(ValueError, match="before epoch 5, but training has only 2 epochs"):
        sw.Selector(sw.recipes.entropy(at=5), 7, epochs=2)
