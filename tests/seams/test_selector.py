"""The front door: what `loss` returns, lengths, progress, learning rates, gradients and precision."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import samplewise as sw
from tests.seams.toys import (
    CLASSES,
    Dicts,
    N,
    Net,
    OnlyX,
    Tensors,
    flat,
    forward_of,
    make,
    step,
    train,
)


def test_one_loop_runs_every_recipe():
    for name in sorted(sw.recipes.all()):
        selector, model = make(name, epochs=4, period=2)
        losses = []
        loader = selector.loader(drop_last=selector.policy.level != "static")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(selector.epoch, 4):
            losses += [step(selector, optimizer, batch) for batch in loader]
        assert all(map(math.isfinite, losses)), name
        assert (selector.epoch, selector.progress) == (4, 1.0), name


def test_full_is_the_ordinary_loop_bit_for_bit():
    selector, model = make("full", epochs=2)
    order = train(selector, model)
    dataset, plain = Tensors(), Net()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05)
    for batches in order:
        for ids in batches:
            loss = F.cross_entropy(plain(dataset.x[ids]), dataset.targets[ids])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert flat(order[0]) == flat(order[1]) == list(range(N))
    assert order[0] != order[1]


def test_the_loss_is_the_mean_of_weighted_losses_over_the_rows():
    losses = torch.arange(1.0, N + 1)
    selector, _ = make(
        sw.recipes.infobatch(keep=0.5), epochs=6, forward=lambda batch: losses[batch[0][:, 0].long()]
    )
    train_ids = []
    for _ in range(4):
        for batch in selector.loader():
            found, weights = selector.loss(batch), selector.plan(selector.epoch).weights
            by_id = losses[batch.ids]
            if weights is not None:
                by_id = by_id * torch.where(batch.ids < N / 2, 2.0, 1.0)
                train_ids += batch.ids.tolist()
            assert found.item() == pytest.approx(by_id.mean().item(), rel=1e-6)
    assert len(train_ids) == 3 * 30


def test_the_training_outputs_come_back_when_asked_for():
    selector, _ = make(sw.recipes.ordered_sgd(keep=0.5), epochs=2)
    for batch in selector.loader():
        loss, outputs = selector.loss(batch, return_outputs=True)
        assert isinstance(outputs, sw.Outputs)
        assert outputs.logits.shape == (4, CLASSES)
        assert outputs.loss.requires_grad
        assert loss.item() == pytest.approx(outputs.loss.mean().item())


def test_narrowing_works_on_dict_and_tensor_batches_and_a_pair_of_the_batch():
    model = Net()

    def of_dict(batch):
        assert len(batch["meta"]["name"]) == len(batch["x"]) == len(batch["meta"]["y"])
        assert all(batch["meta"]["name"][i] == f"sample {int(x[0])}" for i, x in enumerate(batch["x"]))
        return F.cross_entropy(model(batch["x"]), batch["meta"]["y"], reduction="none")

    selector, _ = make("loss_sampling", Dicts(), model=model, forward=of_dict)
    train(selector, model)
    assert {rows for rows, training, grad in model.calls if grad} == {2}
    other = Net()
    selector, _ = make("random_batch", OnlyX(), model=other, forward=lambda x: other(x).square().sum(1))
    train(selector, other)
    assert {rows for rows, _, _ in other.calls} == {2}


@pytest.mark.parametrize("name", ["infobatch", "random_batch", "evolved_sampling", "eswp", "ucb"])
def test_accumulated_gradients_are_those_of_the_whole(name):
    """Micro-batches of half the size, each loss divided by two: the mean over what both trained."""
    dataset, model = Tensors(), Net(dropout=0.0).eval()
    forward = forward_of(model)
    selector, _ = make(name, dataset, model=model, forward=forward, batch_size=10, epochs=5)
    train(selector, model, until=2, lr=0.0)
    trained, weights = [], []
    model.zero_grad()
    for micro, batch in enumerate(selector.loader()):
        if micro == 2:
            break
        before = selector.table().times_selected
        (selector.loss(batch) / 2).backward()
        chosen = batch.ids
        if selector.engine.narrows:
            chosen = torch.nonzero(selector.table().times_selected - before).squeeze(1)
        plan = selector.engine.weights(chosen)
        trained.append(chosen)
        weights.append(torch.ones(len(chosen)) if plan is None else plan)
    assert len({len(ids) for ids in trained}) == 1
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    ids = torch.cat(trained)
    (torch.cat(weights) * forward((dataset.x[ids], dataset.targets[ids]))).mean().backward()
    for mine, whole in zip(found, model.parameters(), strict=True):
        assert torch.allclose(mine, whole.grad, atol=1e-6)


@pytest.mark.parametrize("name", ["full", "evolved_sampling", "infobatch", "ucb"])
def test_bf16_autocast_around_the_loss(name):
    selector, model = make(name, epochs=4, period=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(3):
        for batch in selector.loader(drop_last=True):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = selector.loss(batch)
            assert loss.dtype == torch.float32
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if name != "full":
        assert selector.score().dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_losses_are_recorded_and_averaged_in_float32(dtype):
    model = Net()
    selector, _ = make(
        "infobatch", model=model, forward=lambda batch: model(batch[0]).square().sum(1).to(dtype), epochs=2
    )
    for batch in selector.loader():
        loss = selector.loss(batch)
        assert loss.dtype == torch.float32
        loss.backward()
    assert selector.score().dtype == torch.float32


@pytest.mark.parametrize("name", ["full", "evolved_sampling"])
def test_a_grad_scaler_scales_the_loss_and_not_the_scores(name):
    logs = []
    for scale in (1.0, 1024.0):
        selector, model = make(name, epochs=4, period=2)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(3):
            for batch in selector.loader():
                optimizer.zero_grad()
                scaler.scale(selector.loss(batch)).backward()
                scaler.step(optimizer)
                scaler.update()
        logs.append([p.detach() for p in model.parameters()])
        if name != "full":
            logs[-1].append(selector.score())
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*logs, strict=True))


def test_lengths_are_exact_where_the_budget_fixes_them():
    cases = {
        sw.recipes.full(): [5, 5, 5, 5],
        sw.recipes.random_dynamic(keep=0.3, period=1): [2, 2, 2, 2],
        sw.recipes.random_batch(): [5, 5, 5, 5],
        sw.recipes.eswp(keep_epoch=0.4, anneal=0.25): [5, 2, 2, 5],
    }
    for policy, expected in cases.items():
        selector, model = make(policy)
        assert [selector.epoch_steps(e) for e in range(4)] == expected, policy
        batches = train(selector, model, selector.loader())
        assert [len(epoch) for epoch in batches] == expected, policy


def test_lengths_run_no_forward_and_draw_nothing():
    selector, model = make("ucb")
    before = torch.get_rng_state()
    assert len(selector.loader()) == selector.epoch_steps(0) == 3
    assert not model.calls
    assert not selector.engine.opened
    assert torch.equal(torch.get_rng_state(), before)


def test_an_upper_bound_becomes_exact_when_the_scores_are_there():
    selector, model = make("infobatch", epochs=4)
    loader = selector.loader(drop_last=True)
    assert [selector.epoch_steps(e) for e in range(4)] == [5, 5, 5, 5]
    train(selector, model, loader, until=1)
    assert selector.timeline.samples_of(1)[1]
    coming = len(loader)
    assert coming < 5
    assert selector.epoch_steps(2) == 5
    begun = iter(loader)
    assert len(loader) == coming == len(list(begun))


@pytest.mark.parametrize("drop_last", [True, False])
def test_progress_is_right_while_the_subset_shrinks(drop_last):
    shrinking = sw.Policy(picker=sw.pickers.Uniform(sw.schedules.Linear(1.0, 0.2)))
    selector, model = make(shrinking, epochs=4, model=Net())
    model.eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1 - selector.progress)
    loader, rates = selector.loader(drop_last=drop_last), []
    for epoch in range(4):
        steps = selector.epoch_steps(epoch)
        assert len(loader) == steps
        for done, batch in enumerate(loader):
            assert selector.progress == pytest.approx((epoch + done / steps) / 4)
            step(selector, optimizer, batch)
            schedule.step()
            rates.append(optimizer.param_groups[0]["lr"])
        assert selector.progress == (epoch + 1) / 4
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.0)


def test_the_learning_rate_factor_nominal_and_actual():
    assert make("infobatch")[0].lr_factor(2) == 1.0
    nominal, _ = make(sw.recipes.kakurenbo(keep=0.6), epochs=10)
    factors = [1 / (1 - 0.4 * share) for share in (1, 1, 1, 0.8, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4)]
    assert [nominal.lr_factor(e) for e in range(10)] == pytest.approx(factors)
    assert not nominal.engine.opened

    def sure(batch):
        x, y = batch
        return sw.Outputs(x[:, 0], logits=9.0 * F.one_hot(y, CLASSES).float(), targets=y)

    actual, _ = make(sw.recipes.kakurenbo(keep=0.6, lr_from_actual=True), epochs=10, forward=sure)
    assert actual.lr_factor(0) == 1.0
    for batch in actual.loader():
        actual.loss(batch)
    assert actual.lr_factor(1) == pytest.approx(N / len(actual.plan(1)))
    assert len(actual.plan(1)) == N - 16


def test_the_engine_alone_needs_only_a_number():
    selector = sw.Selector("uncertainty", 10, epochs=12)
    assert selector.pass_due(0)
    assert selector.pass_ids(0).tolist() == list(range(10))
    with pytest.raises(
        ValueError, match=r"uncertainty needs a pass before epoch 0: 10 samples, first ids \[0, 1"
    ):
        selector.plan(0)
    selector.observe(torch.arange(6), torch.arange(6.0), source="pass")
    assert selector.pass_due(0)
    selector.observe(torch.arange(6, 10), torch.arange(6.0, 10), source="pass")
    assert not selector.pass_due(0)
    assert selector.plan(0).ids.tolist() == [5, 6, 7, 8, 9]
    assert not any(selector.pass_due(e) for e in range(1, 10))
    assert selector.pass_due(10)
    assert (selector.ledger.scoring_forwards, selector.labels) == (10, None)
    with pytest.raises(ValueError, match="this Selector was built without a data set"):
        selector.loader()


def test_the_engine_at_batch_level_chooses_after_observing():
    selector = sw.Selector("ordered_sgd", 20, epochs=2)
    selector.plan(0)
    ids = torch.tensor([7, 3, 11, 19, 0, 5, 2, 13])
    selector.observe(ids, ids.float())
    rows, weights = selector.choose(ids)
    assert ids[rows].tolist() == [19, 13]
    assert weights is None
    assert (selector.ledger.samples_backpropagated, selector.ledger.scoring_forwards) == (2, 8)


def test_labels_are_found_or_given():
    assert make("full")[0].labels.tolist() == [i % 3 for i in range(N)]
    tensors = torch.utils.data.TensorDataset(torch.ones(6, 2), torch.tensor([2, 1, 0, 2, 1, 0]))
    assert sw.Selector("full", tensors, epochs=1).labels.tolist() == [2, 1, 0, 2, 1, 0]
    assert sw.Selector("full", tensors, epochs=1, labels=[0] * 6).labels.tolist() == [0] * 6
    regression = torch.utils.data.TensorDataset(torch.ones(6, 2), torch.ones(6))
    assert sw.Selector("full", regression, epochs=1).labels is None


class Classifier(nn.Module):
    """A convolution, so that the head's input has to be flattened by the model."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 2)
        self.head = nn.Linear(9, CLASSES)

    def forward(self, x):
        return self.head(self.conv(x[:, None]).flatten(1))


def test_a_classifier_gives_logits_targets_features_and_head():
    model, dataset = Classifier(), Tensors()
    forward = sw.classifier(model, head="head")
    x, y = dataset.x[:6], dataset.targets[:6]
    outputs = forward((x, y))
    weight, bias = outputs.head
    assert torch.allclose(outputs.features @ weight.T + bias, outputs.logits, atol=1e-6)
    assert torch.allclose(outputs.loss, F.cross_entropy(outputs.logits, y, reduction="none"))
    assert outputs.targets is y
    smoothed = sw.classifier(
        model, "head", lambda z, t: F.cross_entropy(z, t, reduction="none", label_smoothing=0.1)
    )
    assert not torch.allclose(smoothed((x, y)).loss, outputs.loss)
    selector, _ = make("kakurenbo", model=model, forward=forward)
    train(selector, model)


def test_a_classifier_says_which_heads_there_are():
    with pytest.raises(
        ValueError, match=r"the model has no layer 'hea'\. Did you mean 'head'\? Linear layers: head"
    ):
        sw.classifier(Classifier(), head="hea")
    with pytest.raises(ValueError, match="head must name a linear layer, but 'conv' is a Conv1d"):
        sw.classifier(Classifier(), head="conv")


def test_scores_and_tables_are_copies():
    selector, model = make("infobatch", epochs=2)
    train(selector, model, until=1)
    scores, table = selector.score(), selector.table()
    kept = scores.clone(), table["loss"].clone(), table.times_selected.clone()
    train(selector, model)
    assert torch.equal(scores, kept[0])
    assert torch.equal(table["loss"], kept[1])
    assert torch.equal(table.times_selected, kept[2])
    selector.score().zero_()
    assert selector.score().all()
