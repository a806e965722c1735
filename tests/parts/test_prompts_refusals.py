"""What `PromptSelector` refuses: settings, calls out of order, observations, states."""

import math

import pytest
import torch

import samplewise as sw
from samplewise.prompts.groups import as_rewards
from tests.parts.test_prompts import BATCH, N, roll_out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "PromptSelector.n must be >= 1"),
        ({"n": 4, "batch_size": 5}, "batch_size must be at most n=4, got 5"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"discount": 1.5}, r"discount must be in \[0, 1\]"),
        ({"fade": 0}, r"fade must be in \(0, 1\]"),
        ({"prior": (0.0, 1.0)}, r"prior\[0\] must be > 0"),
        ({"prior": (1.0, math.inf)}, r"prior\[1\] must be > 0 and finite"),
        ({"success": math.nan}, "success must be finite"),
        ({"tries": -1}, "tries must be >= 0"),
        ({"seed": -1}, "seed must be >= 0"),
    ],
)
def test_wrong_settings_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        sw.PromptSelector(**{"n": N, "batch_size": BATCH} | given)


def test_a_word_that_is_no_draw_is_refused():
    with pytest.raises(Exception, match="thompson"):
        sw.PromptSelector(N, BATCH, draw="thomson")


def test_calls_out_of_order_are_refused():
    selector = sw.PromptSelector(N, BATCH)
    for call in (lambda: selector.observe(torch.tensor([0]), torch.zeros(1, 2)), selector.replacements):
        with pytest.raises(ValueError, match=r"needs an open step. Call plan\(step\) first"):
            call()
    assert selector.table().times_selected.sum() == 0
    selector.plan(4)
    with pytest.raises(ValueError, match="got step 3 after step 4"):
        selector.plan(3)
    with pytest.raises(ValueError, match="step must be >= 0"):
        selector.plan(-1)


def test_wrong_observations_are_refused_and_change_nothing():
    selector = sw.PromptSelector(N, BATCH)
    ids = selector.plan(0)
    other = next(i for i in range(N) if i not in ids.tolist())
    before = selector.state_dict()
    good = torch.zeros(BATCH, 2)
    bad = [
        (torch.tensor([other]), good[:1], f"planned for step 0, but \\[{other}\\] were not"),
        (torch.tensor([N]), good[:1], f"but \\[{N}\\] were not"),
        (torch.tensor([-1]), good[:1], r"but \[-1\] were not"),
        (ids[[0, 1, 0]], good[:3], "came before"),
        (ids, good[:3], r"shape \(b, g\) = \(5, g\)"),
        (ids, good.flatten(), r"use rewards.view\(5, -1\)"),
        (ids, good[:, :0], r"got shape \(5, 0\)"),
        (ids, torch.full((BATCH, 2), math.nan), "not finite for ids"),
        (ids, torch.full((BATCH, 2), math.inf), "not finite for ids"),
        (ids, torch.full((BATCH, 2), 0.3), r"must be 0 or 1 without PromptSelector\(success=...\), got 0.3"),
    ]
    for given_ids, rewards, said in bad:
        with pytest.raises(ValueError, match=said):
            selector.observe(given_ids, rewards)
    with pytest.raises(TypeError, match=r"torch.tensor\(rewards\)"):
        as_rewards(good.tolist(), ids, 0)
    assert selector.observe(ids[:0], good[:0]).tolist() == []
    after = selector.state_dict()
    assert all(
        torch.equal(after["open"][name], before["open"][name]) for name in ("passes", "rollouts", "low")
    )
    assert after["ledger"] == before["ledger"]


def test_states_that_do_not_fit_are_refused():
    selector = sw.PromptSelector(N, BATCH)
    ids = selector.plan(0)
    selector.observe(ids, roll_out(ids, 0))
    state = selector.state_dict()
    with pytest.raises(ValueError, match="not a PromptSelector's state"):
        selector.load_state_dict({"n": 3})
    with pytest.raises(ValueError, match="Build the PromptSelector with the settings"):
        sw.PromptSelector(N, BATCH, seed=1).load_state_dict(state)
    damaged = [
        ({"passes": state["passes"][:3]}, "must have 23 rows"),
        ({"fails": -1 - state["fails"]}, "must be >= 0"),
        ({"ledger": {}}, "must be there"),
        ({"open": state["open"] | {"ids": ids[:2]}}, "at least 5 different ids"),
        ({"open": state["open"] | {"ids": ids * 0}}, "at least 5 different ids"),
        ({"open": state["open"] | {"step": -1}}, "whole number >= 0"),
    ]
    for changed, said in damaged:
        fresh = sw.PromptSelector(N, BATCH)
        with pytest.raises(ValueError, match=said):
            fresh.load_state_dict(state | changed)
        assert fresh.step is None
