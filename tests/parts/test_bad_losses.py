"""Losses that cannot be used, where the error has to wait for other processes."""

import pytest
import torch

import samplewise as sw
from samplewise.distributed import collectives
from samplewise.engine.own_method import adopt


@pytest.fixture(autouse=True)
def _no_others(monkeypatch):
    """The others saw nothing."""
    monkeypatch.setattr(collectives, "gather", lambda ids, columns: (ids, columns))


def opened(policy):
    """An engine with its first epoch open, whose memory waits for others before it raises."""
    engine = adopt(policy, 8, 4, 0, None)
    engine.plan(0)
    engine.memory.together = True
    return engine


def test_losses_whose_sum_overflows_do_not_hide_a_bad_loss_that_comes_later():
    engine = opened(sw.recipes.infobatch())
    engine.memory.observe(torch.tensor([0, 1]), sw.Outputs(torch.tensor([3e38, 3e38])), "training")
    engine.memory.observe(torch.tensor([2, 3]), sw.Outputs(torch.tensor([1.0, float("nan")])), "training")
    engine.memory.observe(torch.tensor([4, 5]), sw.Outputs(torch.tensor([float("nan"), 1.0])), "training")
    with pytest.raises(ValueError, match=r"loss is not finite for ids \[3\] in epoch 0"):
        engine.memory.fail_together()
    assert engine.score().isnan().tolist() == [False, False, False, True, True, False, True, True]


def test_good_losses_whose_sum_overflows_are_no_error():
    engine = opened(sw.recipes.infobatch())
    engine.memory.observe(torch.tensor([0, 1]), sw.Outputs(torch.tensor([3e38, 3e38])), "training")
    engine.memory.fail_together()
    assert not engine.memory.bad.waiting
    assert engine.score()[:2].tolist() == pytest.approx([3e38, 3e38])


def test_the_first_bad_batch_is_named_where_later_ones_may_be_its_result():
    engine = opened(sw.recipes.loss_sampling())
    for ids, losses in (([5], [-1.0]), ([6], [-2.0])):
        engine.memory.observe(torch.tensor(ids), sw.Outputs(torch.tensor(losses)), "training")
    with pytest.raises(ValueError, match=r"loss is not finite and >= 0 for ids \[5\] in epoch 0"):
        engine.memory.fail_together()
    engine.memory.fail_together()  # it is told once
