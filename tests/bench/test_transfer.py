import pytest
import torch

from samplewise.bench import models
from samplewise.bench.protocols import transfer
from samplewise.coresets.table import Subset
from samplewise.rng import generator

SUBSET = Subset(torch.tensor([1, 4, 6]), torch.tensor([1.0, 2.0, 0.5]), {"model": "resnet18"})


def test_each_model_is_trained_on_the_subset_and_its_row_comes_at_once():
    trained = []

    def train(model, subset):
        trained.append((model, subset))
        return {"test_accuracy": 10.0 * len(trained)}

    rows = transfer(SUBSET, train)
    assert not trained
    assert next(rows) == {"scored_with": "resnet18", "trained_with": "resnet18", "test_accuracy": 10.0}
    assert len(trained) == 1
    assert [row["trained_with"] for row in rows] == ["resnet50", "vgg16", "mobilenet_v2", "shufflenet_v2"]
    assert [model for model, _ in trained] == list(models.ARCHITECTURES)
    assert all(subset is SUBSET for _, subset in trained)


def test_a_subset_without_a_model_says_so():
    rows = transfer(Subset(torch.arange(2)), lambda model, subset: {}, ["cnn"])
    assert list(rows) == [{"scored_with": None, "trained_with": "cnn"}]


@pytest.mark.parametrize(
    ("names", "said"),
    [(["cnn", "vgg"], "Did you mean 'vgg16'?"), (["cnn", "mlp", "cnn"], "each model once, got 'cnn' twice")],
)
def test_names_are_checked_before_the_first_training(names, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        transfer(SUBSET, lambda model, subset: pytest.fail("was trained"), names)


def test_real_models_learn_a_weighted_subset():
    # Two classes, bright on the left or on the right; batch norm wants more than a few samples.
    y = torch.arange(48) % 2
    x = torch.rand(48, 1, 8, 8, generator=generator(0))
    x[y == 0, :, :, :4] += 1
    x[y == 1, :, :, 4:] += 1
    subset = Subset(torch.arange(0, 48, 3), torch.linspace(0.5, 1.5, 16))

    def train(name, subset):
        model = models.build(name, 1, 2, 8, seed=0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        losses = []
        for _ in range(10):
            each = torch.nn.functional.cross_entropy(model(x[subset.ids]), y[subset.ids], reduction="none")
            loss = (subset.weights * each).mean()
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return {"first": losses[0], "last": losses[-1]}

    for row in transfer(subset, train, ["mobilenet_v2", "shufflenet_v2", "cnn"]):
        assert row["last"] < row["first"] / 2
