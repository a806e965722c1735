"""The way an accelerator goes, without one: nothing waits, bad losses are not written, memory moves.

Tensors on `meta` have no numbers, so whatever would read one back - and stall a GPU - raises.
"""

import pytest
import torch
from torch import nn

import samplewise as sw
from samplewise.data.outputs import Outputs
from samplewise.loop.scoring import device_of
from samplewise.loop.step import weighted_mean
from samplewise.testing import Trace, build
from tests.seams.toys import Net, make

N, B = 20, 8
inf, nan = float("inf"), float("nan")


def opened(name, epoch=0):
    """A selector with an open epoch, after whatever pass the method wants."""
    selector = sw.Selector(build(sw.recipes.get(name), N, period=5), N, epochs=30)
    shown = Trace(N).outputs(torch.arange(N), 0)
    for before in range(epoch + 1):
        if selector.pass_due(before):
            selector.observe(selector.pass_ids(before), shown, source="pass")
        if before == epoch or "pass" in selector.policy.source:
            selector.plan(before)
    return selector


def elsewhere():
    """What a forward on an accelerator returns."""
    logits = torch.rand(B, 3, device="meta")
    targets = torch.empty(B, dtype=torch.int64, device="meta")
    features, head = torch.rand(B, 4, device="meta"), (torch.rand(3, 4, device="meta"), None)
    losses, products = torch.rand(2, B, device="meta")
    return Outputs(losses, logits, targets, features, head, target_product=products)


# How many rows these train on depends on draws, which must be read.
UNEVEN = {"importance_sampling", "selective_backprop", "auto_assist"}


@pytest.mark.parametrize("name", sorted(sw.recipes.all().keys() - UNEVEN))
def test_a_step_waits_for_nothing(name):
    selector = opened(name, epoch=5)
    ids = torch.arange(B, device="meta")
    for _ in range(2):
        selector.observe(ids, elsewhere())
        rows, weights = selector.choose(ids)
        assert rows.device.type == "meta"
        finest = selector.policy.at(5, 30).batch_picker
        assert len(rows) == (B if finest is None else finest.size(B, 2)[0])
        assert weighted_mean(torch.rand(len(rows), device="meta"), weights).device.type == "meta"


def test_planned_weights_are_looked_up_where_the_ids_are():
    selector = sw.Selector("infobatch", N, epochs=4)
    selector.plan(0)
    selector.observe(torch.arange(N), torch.arange(N).float())
    assert selector.plan(1).weights is not None
    _, weights = selector.choose(torch.arange(4, device="meta"))
    assert (weights.device.type, weights.dtype) == ("meta", torch.float32)


def test_memory_moves_to_the_device_of_the_loss():
    selector = opened("evolved_sampling", epoch=5)
    selector.observe(torch.arange(B), torch.rand(B))
    assert {c.device.type for c in selector.engine.memory.columns.values()} == {"cpu"}
    selector.observe(torch.arange(B), elsewhere())
    assert {c.device.type for c in selector.engine.memory.columns.values()} == {"meta"}
    assert selector.engine.times_selected.device.type == "meta"


class Elsewhere(torch.Tensor):
    """Numbers that say they are on an accelerator, and can be read all the same."""

    is_cpu = False


def there(*losses, dtype=None):
    """Losses that take an accelerator's way: they are flagged, not refused."""
    return Outputs(torch.tensor(losses, dtype=dtype).as_subclass(Elsewhere))


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("name", ["infobatch", "evolved_sampling", "ordered_sgd"])
def test_a_bad_loss_is_not_written_and_stops_the_epoch_at_its_end(name, bad):
    selector = opened(name, epoch=5)
    ids = torch.tensor([3, 9, 4])
    selector.observe(ids, there(1.0, 2.0, 3.0))
    before = selector.table().columns
    selector.observe(ids, there(5.0, bad, 6.0))
    after = selector.table().columns
    for column in before:
        assert after[column][9] == before[column][9]
        assert after[column][3] != before[column][3]
    with pytest.raises(ValueError, match=r"loss was not finite( and >= 0)? for 1 samples in epoch 5"):
        selector.plan(6)


@pytest.mark.parametrize("name", ["ies", "alignprune"])
def test_a_bad_loss_takes_back_all_numbers_that_a_sample_keeps(name):
    selector = opened(name)
    ids = torch.tensor([3, 9, 4])
    selector.observe(ids, there(1.0, 2.0, 3.0))
    before = {column: kept.clone() for column, kept in selector.engine.memory.columns.items() if kept.ndim}
    selector.observe(ids, there(5.0, nan, 6.0))
    after = selector.engine.memory.columns
    assert any(kept.ndim == 2 for kept in before.values())
    for column, kept in before.items():
        assert torch.equal(after[column][9].nan_to_num(), kept[9].nan_to_num())
    for row in (3, 4):
        assert any(
            not torch.equal(after[c][row].nan_to_num(), kept[row].nan_to_num()) for c, kept in before.items()
        )


def test_a_bad_loss_of_a_sample_never_seen_leaves_it_unseen():
    selector = opened("infobatch")
    selector.observe(torch.tensor([1, 2]), there(nan, 1.0))
    assert selector.score()[:3].isnan().tolist() == [True, True, False]


def test_a_negative_loss_is_flagged_where_it_must_not_be():
    selector = opened("loss_sampling")
    selector.observe(torch.arange(3), there(1.0, -1.0, -2.0))
    assert selector.score()[:3].isnan().tolist() == [False, True, True]
    with pytest.raises(ValueError, match=r"loss was not finite and >= 0 for 2 samples in epoch 0"):
        selector.plan(1)
    fine = opened("ordered_sgd")
    fine.observe(torch.arange(3), there(1.0, -1.0, -2.0))
    fine.plan(1)


def test_no_state_is_saved_after_a_bad_loss():
    selector = opened("infobatch")
    selector.observe(torch.tensor([1, 2]), there(nan, nan))
    with pytest.raises(ValueError, match=r"loss was not finite for 2 samples in epoch 0"):
        selector.state_dict()


def test_a_half_precision_accelerator_loss_is_flagged_as_it_is():
    selector = opened("infobatch")
    selector.observe(torch.tensor([1, 2]), there(inf, 1.0, dtype=torch.bfloat16))
    assert selector.score()[1:3].isnan().tolist() == [True, False]


def test_scoring_finds_the_device_of_the_model():
    assert device_of(None).type == "cpu"
    assert device_of(nn.ReLU()).type == "cpu"
    assert device_of(nn.Linear(2, 2, device="meta")).type == "meta"
    only_buffers = nn.BatchNorm1d(3, affine=False, device="meta")
    assert device_of(only_buffers).type == "meta"


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(sw.recipes.all().keys() - UNEVEN))
def test_a_gpu_trains_every_recipe_without_a_wait_in_the_step(name):
    model = Net().cuda()
    selector, model = make(name, model=model, epochs=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(4):
        for batch in selector.loader(drop_last=True, pin_memory=True):
            batch = batch.to("cuda", non_blocking=True)
            torch.cuda.set_sync_debug_mode("error")
            try:
                loss = selector.loss(batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert selector.progress == 1.0
    if selector.policy.signals:
        assert selector.score().device.type == "cuda"
