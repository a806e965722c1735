"""Losses that torch does not reduce by a plain mean: class weights, ignored targets, tokens."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

import samplewise as sw
from samplewise.loop import normalizing
from samplewise.loop.step import weighted_mean
from tests.seams.toys import CLASSES, N, Net, Tensors, make

WEIGHT = torch.tensor([0.2, 1.0, 5.0])


class Ignored(Tensors):
    """Every fifth target is -100."""

    def __init__(self):
        super().__init__()
        self.y = self.targets.clone()
        self.y[::5] = -100

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def normalizer_of(y):
    return WEIGHT[y.clamp(min=0)] * (y != -100)


def weighted(model):
    def forward(batch):
        x, y = batch
        losses = F.cross_entropy(model(x), y, weight=WEIGHT, reduction="none")
        return sw.Outputs(losses, normalizer=normalizer_of(y))

    return forward


def built(policy, **more):
    model = Net(dropout=0.0)
    return make(policy, Ignored(), model=model, forward=weighted(model), labels=Tensors().targets, **more)


def test_full_is_torchs_weighted_mean_with_ignored_targets():
    selector, model = built("full", epochs=1)
    for batch in selector.loader():
        x, y = batch.data
        loss = selector.loss(batch)
        expected = F.cross_entropy(model(x), y, weight=WEIGHT)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        ours = torch.autograd.grad(loss, list(model.parameters()))
        for mine, theirs in zip(ours, torch.autograd.grad(expected, list(model.parameters())), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_without_a_normalizer_it_is_another_loss():
    selector, model = make("full", epochs=1, forward=lambda batch: weighted(model)(batch).loss)
    batch = next(iter(selector.loader()))
    torch_loss = F.cross_entropy(model(batch.data[0]), batch.data[1], weight=WEIGHT)
    assert abs(selector.loss(batch) - torch_loss) > 0.1


def test_a_methods_weights_multiply_the_losses_and_not_the_normalizer():
    selector, _ = make("infobatch", epochs=8)
    selector.plan(0)
    selector.observe(torch.arange(N), torch.arange(N).float())
    plan = selector.plan(1)
    ids, weights = plan.ids[::4][:6], plan.weights[::4][:6]
    losses, normalizer = torch.arange(1.0, 7), torch.tensor([1, 0, 3, 2, 0, 5])
    assert weights.unique().numel() > 1
    batch = sw.Batch(ids, (torch.ones(6, 4), torch.zeros(6, dtype=torch.int64)))
    expected = sum(w * x for w, x in zip(weights.tolist(), losses.tolist(), strict=True)) / 11
    selector.narrow(batch)
    reduced = selector.reduce(sw.Outputs(losses, normalizer=normalizer))
    assert reduced.item() == pytest.approx(expected)
    selector.narrow(batch)
    factors = selector.weigh(sw.Outputs(losses, normalizer=normalizer))
    assert (factors * losses).mean().item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["loss_sampling", "random_batch", "importance_sampling"])
def test_a_narrowed_batch_is_divided_by_the_normalizers_of_its_rows(name):
    selector, model = built(name, epochs=1)
    batch = next(iter(selector.loader()))
    chosen = selector.narrow(batch)
    outputs = weighted(model)(chosen.data)
    assert 0 < len(chosen.ids) < len(batch.ids)
    weights = selector.weigh(dataclasses.replace(outputs, normalizer=None))
    selector, model = built(name, epochs=1)  # the same draws
    chosen = selector.narrow(next(iter(selector.loader())))
    x, y = chosen.data
    losses = F.cross_entropy(model(x), y, weight=WEIGHT, reduction="none")
    expected = (weights * losses).sum() / normalizer_of(y).sum()
    torch.testing.assert_close(selector.reduce(weighted(model)(chosen.data)), expected)


def test_ones_are_the_plain_mean_and_a_batch_of_ignored_targets_gives_zero():
    losses = torch.rand(5, requires_grad=True)
    shares = normalizing.normalized(None, torch.ones(5, dtype=torch.int64), None)
    torch.testing.assert_close(weighted_mean(losses, shares), losses.mean())
    nothing = weighted_mean(losses * 0, normalizing.normalized(None, torch.zeros(5), None))
    assert nothing.item() == 0
    assert torch.autograd.grad(nothing, losses)[0].tolist() == [0] * 5


def test_uneven_processes_divide_by_the_normalizers_of_all_rows(monkeypatch):
    """The mean over two processes of their losses is the loss of all rows that are no padding."""
    losses, given = torch.rand(7), torch.tensor([2.0, 0, 1, 3, 1, 1, 4])
    held = {0: ([0, 1, 2, 3], 4), 1: ([4, 5, 6, 0], 3)}  # the last row of the second is padding
    sums = torch.tensor([given.sum(), 7.0])
    monkeypatch.setattr(normalizing.collectives, "add_up", lambda counts: sums)
    means = []
    for rows, real in held.values():
        shares = torch.ones(4)
        shares[real:] = 0
        shares = normalizing.normalized(shares * 2 / 7, given[rows], real)
        means.append(weighted_mean(losses[rows], shares))
    assert (sum(means) / 2).item() == pytest.approx((losses.sum() / given.sum()).item())


@pytest.mark.parametrize(
    ("normalizer", "said"),
    [
        (torch.ones(4), r"Outputs.normalizer must have shape \(5,\), got \(4,\)"),
        (torch.ones(()), r"Outputs.normalizer must have shape \(5,\), got \(\)"),
        (-torch.ones(5), "Outputs.normalizer must be finite and >= 0, got -1"),
        (torch.tensor([1, 1, 1, 1, float("nan")]), "Outputs.normalizer must be finite and >= 0, got nan"),
        (torch.tensor([1, 1, 1, 1, float("inf")]), "Outputs.normalizer must be finite and >= 0, got inf"),
    ],
)
def test_a_normalizer_that_is_none_is_refused(normalizer, said):
    selector = sw.Selector("full", 5, lambda data: data, epochs=1)
    selector.plan(0)
    with pytest.raises(ValueError, match=said):
        selector.loss(sw.Batch(torch.arange(5), sw.Outputs(torch.ones(5), normalizer=normalizer)))


def test_a_classifiers_loss_may_bring_its_normalizer():
    model = Net(dropout=0.0)

    def loss(logits, targets):
        return F.cross_entropy(logits, targets, weight=WEIGHT, reduction="none"), WEIGHT[targets]

    forward = sw.classifier(model, "fc", loss=loss)
    selector, _ = make("full", model=model, forward=forward, epochs=1)
    batch = next(iter(selector.loader()))
    x, y = batch.data
    expected = F.cross_entropy(model(x), y, weight=WEIGHT)
    assert model(x).shape[1] == CLASSES
    torch.testing.assert_close(selector.loss(batch), expected)
