"""narrow, weigh and reduce: the step of loops that run the forward themselves."""

import re

import pytest
import torch
from torch.nn import functional as F

import samplewise as sw
from tests.seams.toys import N, Net, Tensors, make, train


def by_hand(selector, model, drop_last=True, lr=0.05, weigh=False):
    """The loop of `toys.train`, with forward and reduction outside the selector."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    forward, seen = selector.forward, []
    loader = selector.loader(drop_last=drop_last)
    for _ in range(selector.epochs):
        seen.append([])
        for batch in loader:
            chosen = selector.narrow(batch)
            outputs = forward(chosen.data)
            loss = (selector.weigh(outputs) * outputs.loss).mean() if weigh else selector.reduce(outputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen[-1].append(batch.ids.tolist())
    return seen


# `fixed` needs a subset; a proxy's loss can only be added by `loss`, so `narrow` refuses it.
@pytest.mark.parametrize("name", [r for r in sw.recipes.all() if r not in ("fixed", "dynams_proxy")])
def test_a_loop_of_ones_own_does_what_loss_does(name):
    one, model = make(name, period=2)
    drop_last = name != "tdds"
    expected = train(one, model, one.loader(drop_last=drop_last))
    other, mine = make(name, period=2)  # the net seeds the draws of its dropout
    assert by_hand(other, mine, drop_last) == expected
    for ours, theirs in zip(model.state_dict().values(), mine.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    state, same = one.state_dict()["engine"], other.state_dict()["engine"]
    for column, value in state["memory"].items():
        assert torch.equal(value.nan_to_num(-1), same["memory"][column].nan_to_num(-1)), column
    assert one.ledger.samples_backpropagated == other.ledger.samples_backpropagated
    assert one.ledger.scoring_forwards == other.ledger.scoring_forwards


@pytest.mark.parametrize("name", ["full", "infobatch", "eswp", "loss_sampling"])
def test_weights_times_losses_is_the_same_training(name):
    one, model = make(name)
    expected = train(one, model)
    other, mine = make(name)
    assert by_hand(other, mine, weigh=True) == expected
    for ours, theirs in zip(model.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_weigh_gives_the_plans_weights():
    selector, _ = make("infobatch", epochs=8)
    selector.plan(0)
    selector.observe(torch.arange(N), torch.arange(N).float())
    plan = selector.plan(1)
    assert plan.weights is not None
    weight_of = dict(zip(plan.ids.tolist(), plan.weights.tolist(), strict=True))
    ids = plan.ids[:7]
    batch = sw.Batch(ids, (torch.ones(7, 4), torch.zeros(7, dtype=torch.int64)))
    assert selector.narrow(batch) == batch
    assert selector.weigh(torch.ones(7)).tolist() == pytest.approx([weight_of[i] for i in ids.tolist()])


def test_losses_that_were_wanted_and_never_given_are_an_error():
    selector, _ = make("infobatch")
    batches = iter(selector.loader())
    selector.narrow(next(batches))
    assert selector.awaits_losses
    with pytest.raises(RuntimeError, match="infobatch needs the losses of every batch"):
        selector.narrow(next(batches))


def test_also_at_the_end_of_an_epoch():
    selector, _ = make("infobatch", batch_size=N)
    batches = iter(selector.loader())
    selector.narrow(next(batches))
    with pytest.raises(RuntimeError, match="infobatch needs the losses of every batch"):
        next(batches)


@pytest.mark.parametrize(
    "name", ["loss_sampling", "evolved_sampling:anneal=0", "random_batch", "full", "ucb"]
)
def test_a_method_that_needs_no_training_losses_is_not_asked_for_them(name):
    selector, _ = make(sw.recipes.parse(name))
    sizes = []
    for _ in range(4):
        for batch in selector.loader():
            sizes.append(len(selector.narrow(batch).ids))
            assert not selector.awaits_losses
    assert selector.epoch == 4


def test_losses_without_a_batch_are_refused():
    selector, _ = make("full")
    with pytest.raises(ValueError, match=r"Call selector\.narrow\(batch\) first"):
        selector.reduce(torch.ones(3))
    batches = iter(selector.loader())
    selector.narrow(next(batches))
    with pytest.raises(ValueError, match=re.escape("losses of shape (8,), got (3,)")):
        selector.reduce(torch.ones(3))
    selector.reduce(torch.ones(8))
    next(batches)
    with pytest.raises(ValueError, match=r"Call selector\.narrow\(batch\) first, once for each batch"):
        selector.weigh(torch.ones(8))


def test_a_forward_that_failed_leaves_nothing_behind():
    model, fails = Net(), [True]

    def forward(batch):
        x, y = batch
        if fails.pop() if fails else False:
            raise RuntimeError("out of memory")
        return F.cross_entropy(model(x), y, reduction="none")

    selector, _ = make("infobatch", model=model, forward=forward)
    batch = next(iter(selector.loader()))
    with pytest.raises(RuntimeError, match="out of memory"):
        selector.loss(batch)
    assert selector.loss(batch).item() > 0


def test_the_mask_follows_the_plan_in_place():
    selector, _ = make("random_dynamic")
    mask = selector.mask()
    assert mask.is_shared()
    assert mask.all()
    for epoch in range(4):
        ids = selector.plan(epoch).ids
        assert mask.nonzero().flatten().tolist() == ids.tolist()
        assert len(ids) < N
    state = selector.state_dict()
    other, _ = make("random_dynamic")
    theirs = other.mask()
    other.load_state_dict(state)
    assert torch.equal(theirs, mask)


def test_a_stream_without_n_has_no_mask():
    with pytest.raises(ValueError, match="a mask needs the number of samples"):
        sw.Selector("random_batch", None, epochs=1).mask()


def test_a_stream_without_n_chooses_by_the_batch_at_hand():
    selector = sw.Selector("loss_sampling", None, epochs=1)
    selector.plan(0)
    ids, losses = torch.arange(100, 108), torch.tensor([0.0] * 6 + [1.0] * 2)
    selector.observe(ids, losses)
    rows, _ = selector.choose(ids)
    assert rows.tolist() == [6, 7]
    with pytest.raises(ValueError, match="must follow observe"):
        selector.choose(ids + 1)
    assert selector.state_dict()["engine"]["memory"] == {}
    with pytest.raises(ValueError, match="got None: evolved_sampling remembers or plans every sample"):
        sw.Selector("evolved_sampling", None, epochs=4)


def test_the_loader_says_where_training_is_not_where_fetching_is():
    selector, _ = make("full", Tensors())
    loader = selector.loader(num_workers=2, prefetch_factor=4)
    batches = iter(loader)
    for _ in range(2):
        selector.loss(next(batches))
    next(batches)
    assert loader.state_dict() == {"epoch": 0, "done": 16}
    other, _ = make("full", Tensors())
    theirs = other.loader()
    with pytest.raises(ValueError, match="Load the selector's state first"):
        theirs.load_state_dict(loader.state_dict())
    other.load_state_dict(selector.state_dict())
    theirs.load_state_dict(loader.state_dict())
    rest = [i for batch in theirs for i in (batch.ids.tolist() if other.loss(batch) is not None else [])]
    assert len(rest) == N - 16


def test_a_loader_that_somebody_else_takes_apart_says_so():
    selector, _ = make("full")
    loader = selector.loader()
    foreign = torch.utils.data.DataLoader(loader.dataset, sampler=loader.sampler, batch_size=8)
    with pytest.raises(RuntimeError, match=r"wrapped or sharded selector\.loader\(\) again"):
        next(iter(foreign))


def test_progress_is_right_at_once_after_loading_also_with_drop_last():
    selector, _ = make("full", epochs=2, batch_size=7)
    batches = iter(selector.loader(drop_last=True))
    for _ in range(3):
        selector.loss(next(batches))
    assert selector.progress == 3 / (N // 7) / 2
    other, _ = make("full", epochs=2, batch_size=7)
    other.load_state_dict(selector.state_dict())
    assert other.progress == selector.progress


def test_one_process_takes_over_the_account_of_two():
    selector, _ = make("full", epochs=2)
    batches = iter(selector.loader())
    for _ in range(2):
        selector.loss(next(batches))
    assert selector.ledger.samples_backpropagated == 16
    state = selector.state_dict()
    state["world"], state["done"] = 2, 32  # as rank 0 of two had saved it
    other, _ = make("full", epochs=2)
    other.load_state_dict(state)
    assert other.ledger.samples_backpropagated == 32
    for batch in other.loader():
        other.loss(batch)
    assert other.ledger.samples_backpropagated == other.ledger.training_forwards == N
    assert other.ledger.ordinary_samples == N
