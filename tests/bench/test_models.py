import pytest
import torch

from samplewise.bench import models
from samplewise.bench.models.mobilenet import Inverted
from samplewise.bench.models.resnet import Bottleneck
from samplewise.bench.models.shufflenet import Unit


@pytest.mark.parametrize("name", models.BUILDERS)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_models_give_logits_for_every_image_size(name, channels, side):
    model = models.build(name, channels, 10, side, seed=0).eval()
    x = torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert model(x).shape == (2, 10)
    torch.nn.functional.cross_entropy(model.train()(x), torch.tensor([3, 8])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("side", [8, 9, 15, 16, 17, 31, 33, 64])
def test_cnn_takes_any_side(side):
    assert models.build("cnn", 1, 4, side, seed=0).eval()(torch.rand(2, 1, side, side)).shape == (
        2,
        4,
    )


@pytest.mark.parametrize(
    ("name", "classes", "published"),
    [
        ("resnet18", 10, 11_173_962),
        ("resnet34", 10, 21_282_122),
        ("resnet50", 10, 23_520_842),
        # 14,728,266 with the biases of the 4,224 convolved channels.
        ("vgg16", 10, 14_728_266 - 4_224),
        ("mobilenet_v2", 1000, 3_504_872),
        ("shufflenet_v2", 1000, 2_278_604),
    ],
)
def test_networks_have_their_published_size(name, classes, published):
    model = models.build(name, 3, classes, 32, seed=0)
    assert sum(p.numel() for p in model.parameters()) == published


@pytest.mark.parametrize(
    ("name", "layers", "side"),
    # The layers a network is named after, and where it has them the projections of shortcuts.
    [("resnet18", 18 + 3, 4), ("resnet34", 34 + 3, 4), ("resnet50", 50 + 4, 4), ("vgg16", 14, 1),
     ("mobilenet_v2", 53, 4), ("shufflenet_v2", 1 + 13 * 3 + 3 * 5 + 2, 4)],
)  # fmt: skip
def test_networks_have_their_layers_and_shrink_32_pixels_to(name, layers, side):
    model, seen = models.build(name, 3, 10, 32, seed=0).eval(), []
    weighted = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(weighted) == layers
    convolution = weighted[-2]
    assert isinstance(convolution, torch.nn.Conv2d)
    model.get_submodule("layers" if name == "vgg16" else "stages").register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[2:])
    )
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    assert seen == [(side, side)]


@pytest.mark.parametrize("name", [*models.ARCHITECTURES, "cnn"])
def test_the_head_is_linear_and_comes_last(name):
    model, seen = models.build(name, 1, 7, 8, seed=0).eval(), {}
    assert isinstance(model.head, torch.nn.Linear)
    model.head.register_forward_hook(lambda module, inputs, output: seen.update(features=inputs[0]))
    with torch.no_grad():
        logits = model(torch.rand(2, 1, 8, 8))
    assert torch.equal(
        logits, torch.nn.functional.linear(seen["features"], model.head.weight, model.head.bias)
    )


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_images_below_8_pixels_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} needs images of at least 8 pixels, got 7"):
        models.build(name, 1, 10, 7, seed=0)


def test_a_unit_of_shufflenet_passes_the_first_half_and_mixes():
    unit = Unit(4).eval()
    x = torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    out = unit(x)
    assert torch.equal(out[:, ::2], x[:, :2])
    assert torch.equal(out[:, 1::2], unit.layers(x[:, 2:]))


@pytest.mark.parametrize(("channels", "stride", "adds"), [(8, 1, True), (8, 2, False), (12, 1, False)])
def test_an_inverted_block_adds_its_input_only_where_shapes_agree(channels, stride, adds):
    block = Inverted(8, channels, stride, expansion=6).eval()
    x = torch.rand(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    out = block.layers(x)
    assert torch.equal(block(x), x + out if adds else out)


def test_the_stride_of_a_bottleneck_is_in_its_3x3_convolution():
    block = Bottleneck(8, 4, 2)
    assert [conv.stride for conv in (block.conv1, block.conv2, block.conv3)] == [(1, 1), (2, 2), (1, 1)]
    assert block(torch.rand(2, 8, 6, 6)).shape == (2, 16, 3, 3)


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
        ("resnet", r"must be one of cnn, mlp, fast, resnet18, .* or .*Did you mean 'resnet(18|34|50)'\?"),
        ("hf", r"hf:PATH \(a text encoder\) or .*got 'hf'\.$"),
        ("lama", r"llama \(a language model\), hf:PATH \(a text encoder\) or .*Did you mean 'llama'\?"),
        ("lama:width=16", r"got 'lama:width=16'\. Did you mean 'llama'\?"),
        ("mine/net.py:build", "Use the absolute name of an importable module"),
        ("nowhere:build", "nowhere:build cannot be imported"),
        (f"{__name__}:absent", "absent cannot be imported"),
        (f"{__name__}:__name__", "must name a function"),
        (f"{__name__}:no_model", r"must return a torch\.nn\.Module"),
    ],
)
def test_what_builds_no_model_is_refused(name, said):
    with pytest.raises(ValueError, match=said):
        models.build(name, 1, 10, 8, seed=0)
