"""What cannot be slimmed is refused when built, by name, and the model stays as it was."""

import copy
import threading
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

from samplewise.proxy import slim
from tests.proxy.nets import Encoder, Perceptron, Residual, Vit, made


class Around(nn.Module):
    """Two convolutions and a head around some code and a module."""

    def __init__(self, between, module=None, c=8, features=8):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.module, self.between, self.fc = module, between, nn.Linear(features, 3)

    def forward(self, x):
        x = self.between(self, F.relu(self.two(F.relu(self.one(x)))))
        return self.fc(x.mean((2, 3)) if x.ndim == 4 else x)


def through(net, x):
    return net.module(x)


def shuffled(net, x):
    return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


def halves(net, x):
    a, b = x.chunk(2, 1)
    return torch.cat([a, b], 1) * 1.0


def swapped_halves(net, x):
    a, b = x.chunk(2, 1)
    return torch.cat([b, a], 1)


def beside(net, x):
    return net.module(torch.cat([x, x + 1], 1))


def by_sum(net, x):
    return x / x.square().sum(1, keepdim=True).sqrt()


def channels_last(net, x):
    return x.permute(0, 2, 3, 1).flatten(1)


def channels_first(net, x):
    return x.flatten(1)


X = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("net", "where"),
    [
        (lambda: Around(shuffled), r"'fc' \(Linear\)"),
        (lambda: Around(swapped_halves), r"'fc' \(Linear\)"),
        (lambda: Around(by_sum), r"'fc' \(Linear\)"),
        (lambda: Around(channels_last, features=128), r"'fc' \(Linear\)"),
        (lambda: Around(beside, nn.Conv2d(16, 8, 1)), r"'module' \(Conv2d\)"),
        (lambda: Around(beside, nn.BatchNorm2d(16), features=16), r"'module' \(BatchNorm2d\)"),
    ],
)
def test_code_that_moves_channels_is_found_where_it_happens(net, where):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=f"before {where}, code mixes channels"):
        slim(net(), example=X)


@pytest.mark.parametrize("between", [halves, channels_first])
def test_code_that_leaves_the_channels_in_place_is_fine(between):
    torch.manual_seed(0)
    net = Around(between, features=128 if between is channels_first else 8)
    assert slim(net, example=X)(X).shape == (3, 3)


def test_used_channels_that_change_places_behind_weights_of_zero_are_found_too():
    def swapped_quarters(net, x):
        c = x.shape[1]
        return torch.cat([x[:, c // 8 : c // 4], x[:, : c // 8], x[:, c // 4 :]], 1)

    net = Around(swapped_quarters, c=16, features=16)
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(ValueError, match="mixes channels"):
        slim(net, example=X)
    assert not any(parameter.any() for parameter in net.parameters())


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x):
        return x * self.by


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes += 1
        return x


class OwnLinear(nn.Linear):
    pass


class Rows(nn.Module):
    """A recurrent layer over the rows of an image."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x):
        return self.lstm(x.mean(3).transpose(1, 2))[0].mean(1)


CONV = r"'two' \(Conv2d\)"


def changed(how):
    net = Around(lambda net, x: x)
    how(net.two)
    return net


def replaced(layer):
    layer.forward = lambda x: x


@pytest.mark.parametrize(
    ("net", "error"),
    [
        (lambda: Around(through, nn.ConvTranspose2d(8, 8, 1)), r"'module' \(ConvTranspose2d\) has p"),
        (lambda: Around(through, Rows()), r"'module.lstm' \(LSTM\) has parameters"),
        (lambda: Around(through, Scale()), r"'module' \(Scale\) has parameters"),
        (lambda: Around(through, nn.PReLU(8)), r"'module' \(PReLU\) has parameters"),
        (lambda: Around(through, nn.InstanceNorm2d(8)), r"'module' \(InstanceNorm2d\)"),
        (lambda: Around(through, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), OwnLinear(8, 8))),
         r"'module.2' \(OwnLinear\) has parameters .* not their subclasses"),
        (lambda: Around(through, nn.LayerNorm((8, 4, 4))), r"'module' \(LayerNorm\) .* normalises 3"),
        (lambda: Around(through, nn.GroupNorm(3, 6), c=6, features=6),
         r"in 'module' \(GroupNorm\): the narrow input must be a multiple of the group size, 2 channels"),
        (lambda: Around(through, nn.Conv2d(8, 8, 1, groups=4), c=8), None),
        (lambda: Around(through, nn.Conv2d(6, 6, 1, groups=3), c=6, features=6),
         r"in 'module' \(Conv2d\): the narrow input must be a multiple of the group size, 2 channels"),
        (lambda: Around(through, nn.PReLU()), None),
        (lambda: Around(through, Counting()), r"changes passes of 'module' \(Counting\)"),
        (lambda: Around(lambda net, x: x.reshape(len(x), 8, -1).mean(2)), "'fc' "),
        (lambda: Around(lambda net, x: x.view(-1, 8, 4, 4)), r"must return the shapes.*\(1, 3\)|fails"),
        (lambda: changed(parametrizations.weight_norm), r"'two' \(ParametrizedConv2d\) has"),
        (lambda: changed(spectral_norm), f"{CONV} cannot be slimmed: its weight is computed from other"),
        (lambda: changed(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)),
         f"{CONV} cannot be slimmed: its weight is computed from other"),
        (lambda: changed(replaced), f"{CONV} cannot be slimmed: its forward was replaced"),
        (lambda: nn.DataParallel(Around(through, nn.Identity())), "not be wrapped yet, got a DataParallel"),
        (lambda: Around(through, nn.LazyConv2d(8, 1)), "lazy layers"),
    ],
)  # fmt: skip
def test_a_module_without_a_narrow_form_is_named(net, error):
    torch.manual_seed(0)
    net = net()
    if error is None:
        assert slim(net, example=X)(X).shape == (3, 3)
        return
    kinds = [type(module) for module in net.modules()]
    with pytest.raises(ValueError, match=error):
        slim(net, example=X)
    assert kinds == [type(module) for module in net.modules()]
    assert not any(name.endswith("narrow") for name, _ in net.named_modules())


def test_layers_that_share_a_weight_are_named():
    net = Perceptron()
    net.branch = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    net.branch[2].weight = net.branch[0].weight
    with pytest.raises(
        ValueError, match=r"'branch.0' \(Linear\) .*: it shares a parameter with 'branch.2' \(Linear\)"
    ):
        slim(net, example=torch.randn(3, 5))


def test_one_layer_used_twice_at_one_width_is_no_matter():
    net = Perceptron()
    layer = nn.Linear(8, 8)
    net.branch = nn.Sequential(layer, nn.ReLU(), layer)
    x = torch.randn(3, 5)
    view = slim(net, example=x)
    assert view(x).shape == (3, 3)


def test_one_norm_used_at_two_widths_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.first, self.fc = nn.BatchNorm1d(8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.fc(self.norm(self.first(self.norm(x))))

    with pytest.raises(
        ValueError, match=r"in 'norm' \(BatchNorm1d\): its input must .* channels, got 8 and then 4"
    ):
        slim(Twice(), example=torch.randn(3, 8))


def test_a_norm_that_the_example_does_not_reach_is_refused():
    net = Residual()
    net.spare = nn.BatchNorm2d(8)
    with pytest.raises(ValueError, match=r"does not reach 'spare' \(BatchNorm2d\)"):
        slim(net, example=X)


def test_attention_with_keys_of_another_width_is_refused():
    net = Vit()
    net.other = nn.MultiheadAttention(8, 4, kdim=6, vdim=6)
    with pytest.raises(
        ValueError,
        match=r"'other' \(MultiheadAttention\) cannot be slimmed: its keys or values have another width",
    ):
        slim(net, example=torch.randn(3, 2, 8, 8))


def test_queries_keys_and_values_in_another_order_are_refused():
    net = Vit()

    class HeadByHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_heads, self.qkv, self.proj = 4, nn.Linear(8, 24), nn.Linear(8, 8)

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = self.qkv(x).reshape(b, t, self.num_heads, 3, d // 4).permute(3, 0, 2, 1, 4).unbind(0)
            return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d))

    net.blocks[1].attn = HeadByHead()
    with pytest.raises(ValueError, match=r"in 'blocks.1.attn.proj' \(Linear\): its input from unused heads"):
        slim(net, example=torch.randn(3, 2, 8, 8))


@pytest.mark.parametrize("width", [0, -0.5, 1.5, float("nan")])
def test_a_width_outside_0_to_1_is_refused(width):
    with pytest.raises(ValueError, match=r"slim.width must be in \(0, 1\], got"):
        slim(Perceptron(), width=width, example=torch.randn(3, 5))


def test_a_multiple_below_1_is_refused():
    with pytest.raises(ValueError, match=r"slim.multiple must be >= 1, got 0"):
        slim(Perceptron(), multiple=0, example=torch.randn(3, 5))


def test_a_width_that_leaves_a_layer_nothing_is_refused():
    with pytest.raises(ValueError, match=r"width=0.1 leaves no channel of 'first' \(Linear\)"):
        slim(Perceptron(), width=0.1, example=torch.randn(3, 5))
    with pytest.raises(ValueError, match=r"width=0.2 leaves no head of 'encoder.layers.0.self_attn'"):
        slim(Encoder(), width=0.2, example=made(Encoder)[1])
    with pytest.raises(ValueError, match=r"width=0.2 leaves no channel of 'blocks.0.attn.qkv'"):
        slim(Vit(), width=0.2, example=torch.randn(3, 2, 8, 8))


def test_a_network_with_nothing_to_slim_is_refused():
    net = nn.Sequential(nn.EmbeddingBag(10, 4), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="Use a smaller width"):
        slim(net, head="1", example=torch.zeros(2, 5, dtype=torch.long))


def vectors():
    return nn.Sequential(
        OrderedDict(layers=nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))
    )


def test_a_head_that_is_missing_or_not_linear_is_refused():
    x = torch.randn(3, 5)
    with pytest.raises(
        ValueError, match=r"no layer 'fcc'. Did you mean 'fc'\? Linear layers: first, branch.1, "
    ):
        slim(Perceptron(), head="fcc", example=x)
    with pytest.raises(
        ValueError, match=r"head must name a linear layer, but 'norm' \(LayerNorm\) is not one"
    ):
        slim(Perceptron(), head="norm", example=x)
    with pytest.raises(ValueError, match=r"\(3, 3\) for the output .* got \(3, 1\).*head must name"):
        slim(vectors(), head="layers.0", example=x)


def test_a_head_that_does_not_run_is_refused():
    net = Perceptron()
    net.other = nn.Linear(8, 3)
    with pytest.raises(ValueError, match="does not call 'other'"):
        slim(net, head="other", example=torch.randn(3, 5))


def test_an_example_that_the_model_refuses_is_refused_by_module_and_mode():
    with pytest.raises(
        ValueError, match=r"the model fails on the example, in train mode, in 'first' \(Linear\)"
    ):
        slim(Perceptron(), example=torch.randn(3, 6))
    with pytest.raises(ValueError, match=r"in train mode, in 'layers.1' .*more than 1 value per channel"):
        slim(
            vectors(),
            head="layers.2",
            example=torch.randn(1, 5),
        )


def test_a_second_view_of_a_model_or_its_copy_is_refused():
    net, x = Perceptron(), torch.randn(3, 5)
    slim(net, example=x)
    for model in (net, copy.deepcopy(net)):
        with pytest.raises(ValueError, match=r"the model \(Perceptron\) already has a narrow view"):
            slim(model, example=x)
        with pytest.raises(ValueError, match=r"'0' \(Perceptron\) already has a narrow view"):
            slim(nn.Sequential(model), head="0.fc", example=x)


def test_a_model_that_cannot_be_copied_is_refused():
    net = Perceptron()
    net.lock = threading.Lock()
    with pytest.raises(ValueError, match="tested on a copy: cannot pickle"):
        slim(net, example=torch.randn(3, 5))
