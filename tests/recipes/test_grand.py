"""`grand` (METHODS A5): the closed form in plain loops, the full norm through a real training."""

import math

import pytest
import torch
from coreset_runs import recorded, shown, softmax
from plain import count, largest
from torch import nn
from torch.nn import functional as F

import samplewise as sw

TARGETS = [0, 1, 2, 0, 1, 2, 0, 1]
LOGITS = [
    [[0.0, 0.0, 0.0]] * 8,
    [
        [2.0, 0, 0],
        [0, 2.0, 1.0],
        [0, 0, 1.0],
        [0, 3.0, 0],
        [1.0, 0, 1.0],
        [0, 0, 4.0],
        [1.0, 2.0, 3.0],
        [0, 0, 0.0],
    ],
    [[1.0, 0.0, 5.0]] * 8,
]
FEATURES = [[[0.5 * i, 1.0 - epoch, 0.25] for i in range(8)] for epoch in range(3)]


def closed_form(epoch, bias):
    found = []
    for z, y, h in zip(LOGITS[epoch], TARGETS, FEATURES[epoch], strict=True):
        r = [p - (c == y) for c, p in enumerate(softmax(z))]
        # The gradient itself, entry by entry: r_c h_j for the weight, r_c for the bias.
        entries = [rc * hj for rc in r for hj in h] + (r if bias else [])
        found.append(math.sqrt(sum(entry * entry for entry in entries)))
    return found


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_the_kept_have_the_largest_gradient_of_the_last_layer(at, bias):
    table = [shown(z, TARGETS, h) for z, h in zip(LOGITS, FEATURES, strict=True)]
    for keep in (0.25, 0.6):
        selector, passes = recorded(sw.recipes.grand(keep=keep, at=at, bias=bias), table)
        expected = closed_form(at, bias)
        torch.testing.assert_close(selector.score(), torch.tensor(expected))
        ranked = largest([round(value, 5) for value in expected], count(8, keep))
        assert selector.subset().ids.tolist() == ranked
        assert passes == [at]


def test_it_is_scored_before_epoch_1_unless_told_otherwise():
    table = [shown(z, TARGETS, h) for z, h in zip(LOGITS, FEATURES, strict=True)]
    _, passes = recorded(sw.recipes.grand(), table)
    assert passes == [1]


def trained(policy, model, n=20, batch_size=7):
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    y = torch.arange(n) % 3

    def forward(batch):
        inputs, targets = batch
        return F.cross_entropy(model(inputs), targets, reduction="none")

    data = torch.utils.data.TensorDataset(x, y)
    selector = sw.Selector(policy, data, forward, model=model, epochs=2, batch_size=batch_size, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for batch in selector.loader():
            loss = selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return selector


def test_the_full_norm_is_that_of_every_parameter_before_the_epoch():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 3))
    # Scored before epoch 0, by the model as it is now, in eval mode.
    model.eval()
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 3
    expected = []
    for i in range(20):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(model.parameters()))
        expected.append(math.sqrt(sum(float((g.double() ** 2).sum()) for g in grads)))
    model.train()
    selector = trained(sw.recipes.grand(keep=0.3, at=0, layer="full"), model)
    torch.testing.assert_close(selector.score(), torch.tensor(expected), rtol=1e-4, atol=1e-6)
    assert selector.subset().ids.tolist() == largest(selector.score().tolist(), count(20, 0.3))


def test_the_choice_of_the_layer_is_one_of_two_words():
    with pytest.raises(
        ValueError, match=r"grand.layer must be one of 'last', 'full', got 'lats'. Did you mean 'last'"
    ):
        sw.recipes.grand(layer="lats")
    assert sw.recipes.grand().needs == ("loss", "logits", "targets", "features")
