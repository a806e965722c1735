"""The share of the operations, counted by hand; how many channels a width keeps."""

import pytest
import torch
from torch import nn

from samplewise.bench.models import build
from samplewise.proxy import channels, slim
from tests.proxy.nets import Perceptron, Vit, made


def example(side=8, in_channels=1):
    return torch.randn(2, in_channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0])
def test_of_the_mlp_the_share_is_the_count_by_hand(width):
    view = slim(build("mlp", 1, 10, 8, seed=0), width=width, head="layers.5", example=example())
    c = int(256 * width)
    assert view.flops_share == (64 * c + c * c + c * 10) / (64 * 256 + 256 * 256 + 256 * 10)


@pytest.mark.parametrize(("width", "side"), [(0.5, 8), (0.25, 28)])
def test_of_the_cnn_the_share_is_the_count_by_hand(width, side):
    view = slim(build("cnn", 3, 10, side, seed=0), width=width, head="head", example=example(side, 3))

    def count(share):
        a, b = int(32 * share), int(64 * share)
        first = side if side == 8 else side // 2
        second = first if side == 8 else first // 2
        return first**2 * 9 * 3 * a + second**2 * 9 * a * b + (second // 2) ** 2 * b * 10

    assert view.flops_share == count(width) / count(1)


def test_of_code_that_counts_on_all_heads_only_the_products_of_queries_and_keys_stay():
    model, x = made(Vit)
    view = slim(model, width=0.5, example=x)

    def count(heads, inner):
        d, size, t = 8, 2, 5
        projections, scores = 4 * d * heads * size * t, 2 * t * t * 4 * size
        return 4 * 2 * 16 * d + 2 * (projections + scores + 2 * d * inner * t) + d * 3

    assert view.flops_share == count(2, 6) / count(4, 12)


def test_a_deep_network_is_slimmed_to_about_the_square_of_the_width():
    model, x = build("resnet18", 1, 4, 8, seed=1), example()
    view = slim(model, width=0.5, head="head", example=x)
    assert 0.25 < view.flops_share < 0.26
    (model(x).sum() + view(x).sum()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "vgg16", "mobilenet_v2"])
def test_the_networks_of_the_benchmarks_are_slimmed(name):
    model, x = build(name, 1, 4, 32, seed=1), example(32)
    view = slim(model, width=0.5, head="head", example=x)
    assert 0.24 < view.flops_share < 0.3
    assert view(x).shape == (2, 4)


@pytest.mark.slow
def test_a_shuffling_network_is_refused_at_the_first_layer_that_meets_shuffled_channels():
    model = build("shufflenet_v2", 1, 4, 32, seed=1)
    with pytest.raises(ValueError, match=r"'stages.1.layers.0' \(Conv2d\) mixes channels"):
        slim(model, head="head", example=example(32))


def test_the_count_is_of_the_model_and_not_of_how_attention_is_fused():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 4, 12, batch_first=True)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(40, 3)).eval()
    view = slim(model, width=0.5, head="2", example=torch.randn(2, 5, 8))

    def count(heads, inner):
        return 5 * (4 * 8 * 2 * heads + 2 * 5 * 2 * heads + 2 * 8 * inner) + 40 * 3

    assert view.flops_share == count(2, 6) / count(4, 12)


def test_channels_are_whole_multiples_and_never_below_nine_tenths():
    for c in range(1, 200):
        for width in (0.05, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9):
            assert channels(c, width) == (c * round(100 * width)) // 100
            kept = channels(c, width, multiple=8)
            assert kept == c or kept % 8 == 0
            assert kept >= 0.9 * c * width
            assert kept <= c
            assert kept - c * width <= 8
        assert channels(c, 1.0, multiple=8) == channels(c, 1.0) == c


def test_a_view_keeps_multiples_of_eight_where_asked():
    model = Perceptron(c=40)
    view = slim(model, width=0.5, example=torch.randn(2, 5), multiple=8)
    assert view.head()[0].shape == (3, 24)
    assert repr(view).startswith("Slim(width=0.5, head='fc', 6 narrow layers, ")
