import pytest
import torch

from samplewise.bench import models


@pytest.mark.parametrize("name", models.BUILDERS)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_models_give_logits_for_every_image_size(name, channels, side):
    model = models.build(name, channels, 10, side, seed=0).eval()
    x = torch.rand(3, channels, side, side)
    assert model(x).shape == (3, 10)
    model.train()(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("side", [8, 9, 15, 16, 17, 31, 33, 64])
def test_cnn_takes_any_side(side):
    assert models.build("cnn", 1, 4, side, seed=0).eval()(torch.rand(2, 1, side, side)).shape == (
        2,
        4,
    )


def test_resnet18_has_its_eighteen_layers_and_size():
    model = models.build("resnet18", 3, 10, 32, seed=0)
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    weighted = [m for m in model.modules() if isinstance(m, kinds)]
    # 18 layers and the three projections of the shortcuts.
    assert len(weighted) == 21


def test_first_weights_depend_on_the_seed_alone():
    before = torch.get_rng_state()
    first, again, other = (models.build("mlp", 1, 10, 8, seed=s) for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.layers[1].weight, again.layers[1].weight)
    assert not torch.equal(first.layers[1].weight, other.layers[1].weight)


def linear(in_channels, classes, image_size):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(in_channels * image_size**2, classes))


def no_model(in_channels, classes, image_size):
    return "text"


def test_a_users_function_builds_the_model():
    model = models.build(f"{__name__}:linear", 1, 10, 8, seed=0)
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet", r"must be one of cnn, mlp, resnet18 or .*Did you mean 'resnet18'\?"),
        ("nowhere:build", "nowhere:build cannot be imported"),
        (f"{__name__}:absent", "absent cannot be imported"),
        (f"{__name__}:__name__", "is not a function"),
        (f"{__name__}:no_model", r"must return a torch\.nn\.Module"),
    ],
)
def test_what_builds_no_model_is_refused(name, said):
    with pytest.raises(ValueError, match=said):
        models.build(name, 1, 10, 8, seed=0)
