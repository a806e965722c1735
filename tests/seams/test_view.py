"""`Scoring(view=...)`: scores see less of a batch, training sees all of it, and the ledger knows the cost."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import samplewise as sw
from samplewise import views

N, B, EPOCHS = 24, 8, 4


class Images(torch.utils.data.Dataset):
    def __init__(self):
        self.x = torch.randn(N, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        self.targets = torch.arange(N) % 3

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.x[i], self.targets[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)
        self.seen = []

    def forward(self, x):
        self.seen.append((tuple(x.shape), torch.is_grad_enabled()))
        return self.fc(self.conv(x).relu().mean((2, 3)))


def flops(side):
    """Of a forward of one image, by hand: 2 for a multiplication and an addition."""
    return 2 * 4 * 3 * 9 * side * side + 2 * 4 * 3


def trained(name, scoring, until=EPOCHS, **given):
    model = Net()
    policy = sw.recipes.get(name)(**given)
    forward = sw.classifier(model)
    selector = sw.Selector(
        policy, Images(), forward, model=model, epochs=EPOCHS, batch_size=B, scoring=scoring
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(until):
        for batch in selector.loader():
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
    return selector, model


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("ordered_sgd", {"keep": 0.5}),
        ("ucb", {"keep": 0.5, "period": 2}),
        ("kakurenbo", {"keep": 0.5, "tau": 0.0}),
    ],
)
def test_half_resolution_scores_for_the_cost_of_its_flops(name, given):
    selector, model = trained(name, sw.Scoring(view=views.half), **given)
    scored = sum(shape[0] for shape, grad in model.seen if not grad)
    trainings = sum(shape[0] for shape, grad in model.seen if grad)
    assert {shape[2:] for shape, grad in model.seen if not grad} == {(4, 4)}
    assert {shape[2:] for shape, grad in model.seen if grad} == {(8, 8)}
    ledger = selector.ledger
    assert (ledger.scoring_forwards, ledger.cheap_scoring_forwards) == (0, scored)
    assert ledger.cost == pytest.approx(3 * trainings + scored * flops(4) / flops(8), rel=1e-12)
    assert f"scoring forwards, cheap  {scored:>14,}" in str(ledger)


def test_scores_are_the_losses_of_the_view():
    selector, model = trained("ucb", sw.Scoring(view=views.half), until=0)
    selector.set_epoch(0)
    data = Images()
    with torch.no_grad():
        losses = F.cross_entropy(model(F.avg_pool2d(data.x, 2)), data.targets, reduction="none")
    torch.testing.assert_close(selector.score(), losses)


def test_gradient_norms_see_the_view_and_are_charged_by_flops():
    selector, model = trained("grand", sw.Scoring(view=views.half), layer="full")
    ledger = selector.ledger
    assert (ledger.scoring_forwards, ledger.scoring_backwards) == (0, 0)
    assert ledger.cheap_scoring_forwards == N
    assert ledger.cheap_flops == 3 * N * flops(4)
    assert ledger.cheap_cost == ledger.cheap_flops / flops(8)
    assert {shape[2:] for shape, _ in model.seen} == {(4, 4), (8, 8)}


def rows(data):
    return data[0][:4], data[1][:4]


def in_place(data):
    data[0].resize_(B, 3, 4, 4)
    return data


def widened(data):
    return data[0].repeat(2, 1, 1, 1), data[1]


@pytest.mark.parametrize("name", ["ordered_sgd", "ucb"])
@pytest.mark.parametrize(
    ("view", "says"),
    [
        (rows, r"Scoring.view must keep the 8 rows of a batch, got batch\[0\] of shape \(4, 3, 8, 8\)"),
        (widened, r"Scoring.view must keep the 8 rows of a batch, got batch\[0\] of shape \(16, 3, 8, 8\)"),
        (in_place, "Scoring.view must return new data, but it changed the batch in place"),
        (lambda data: views.first(2)(data), "views.first found no text"),
    ],
)
def test_a_wrong_view_is_an_error_at_the_first_batch(name, view, says):
    with pytest.raises(ValueError, match=says):
        trained(name, sw.Scoring(view=view), until=1, keep=0.5)


def test_a_view_that_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"Scoring.view must be a function of a batch's data, got int"):
        sw.Scoring(view=64)


def test_half_takes_means_and_leaves_what_is_no_image():
    images, mask = torch.rand(2, 3, 5, 7), torch.ones(2, 5, 7)
    seen = views.half({"x": images, "mask": mask, "name": ["a", "b"]})
    assert seen["x"].shape == (2, 3, 2, 3)
    assert float(seen["x"][1, 2, 1, 2]) == pytest.approx(float(images[1, 2, 2:4, 4:6].sum()) / 4)
    assert seen["mask"] is mask
    with pytest.raises(ValueError, match=r"views\.half found no images"):
        views.half(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"at least 2 x 2 pixels, got shape \(2, 3, 1, 9\)"):
        views.half(torch.ones(2, 3, 1, 9))


def test_first_cuts_what_has_a_number_for_each_token():
    ids = torch.arange(12).reshape(2, 6)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": ids + 1,
        "class": torch.tensor([3, 4]),
        "weights": torch.rand(2, 5),
    }
    (seen, targets) = views.first(4)((batch, torch.tensor([0, 1])))
    assert seen["input_ids"].tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert seen["labels"].tolist() == [[1, 2, 3, 4], [7, 8, 9, 10]]
    assert seen["attention_mask"].shape == (2, 4)
    assert seen["weights"] is batch["weights"]
    assert (seen["class"].tolist(), targets.tolist()) == ([3, 4], [0, 1])
    assert batch["input_ids"].shape == (2, 6)
    assert views.first(9)(batch)["input_ids"].tolist() == ids.tolist()
    with pytest.raises(ValueError, match=r"First\.tokens must be >= 1, got 0"):
        views.first(0)
