"""The narrow view beside an ordinary smaller network whose weights are copied slices."""

import copy
import math

import pytest
import torch
from torch import nn

from samplewise.bench.models import build
from samplewise.proxy import slim
from tests.proxy.nets import Convolutions, Encoder, Grouped, Perceptron, Residual, Sequences, Vit, made

HALVES = {
    Convolutions: {"c": 4},
    Residual: {"c": 4, "groups": 2},
    Sequences: {"c": 4},
    Perceptron: {"c": 4},
    Vit: {"heads": 2, "inner": 6},
    Grouped: {"heads": 2, "keys": 1, "inner": 6},
}


def small_cnn():
    """The `cnn` of the benchmarks for 1 x 8 x 8 and 4 classes, at half its width."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 4),
    )  # fmt: skip


def small_mlp():
    """The `mlp` of the benchmarks for 1 x 8 x 8 and 4 classes, at half its width."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4)
    )  # fmt: skip


def pair(kind):
    """A network with an example and its head, and one of half the width with other weights."""
    if kind in HALVES:
        return *made(kind), "fc", kind(**HALVES[kind])
    model = build(kind, 1, 4, 8, seed=0)
    small, head = {"cnn": (small_cnn(), "head"), "mlp": (small_mlp(), "layers.5")}[kind]
    return model, torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)), head, small


def leading(name, value, shape):
    """The part of a large parameter or gradient that a smaller one of this shape is, and nothing else."""
    if "qkv" in name:
        parts = value.view(3, -1, *value.shape[1:])
        return parts[:, : shape[0] // 3].reshape(shape)
    return value[tuple(slice(0, n) for n in shape)]


def matched(model, small):
    """(name, large, small) of parameters; where the model has narrow norms, theirs for the large."""
    values = dict(model.named_parameters())
    names = [name for name in values if ".narrow." not in name]
    for name, other in zip(names, small.parameters(), strict=True):
        layer, _, what = name.rpartition(".")
        yield (
            values.get(f"{layer}.narrow.{what}") is None,
            name,
            values.get(f"{layer}.narrow.{what}", values[name]),
            other,
        )


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kind", [*HALVES, "cnn", "mlp"])
def test_outputs_gradients_and_statistics_are_those_of_a_smaller_network(kind, train):
    model, x, head, small = pair(kind)
    model, x, small = model.double(), x.double(), small.double()
    view = slim(model, width=0.5, head=head, example=x)
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in view.own_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng))
        for _, name, large, other in matched(model, small):
            other.copy_(leading(name, large, other.shape))
    norms = [m for name, m in model.named_modules() if name.endswith(".narrow")]
    small_norms = [m for m in small.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = [m for m in norms if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for mine, other in zip(norms, small_norms, strict=True):
        other.load_state_dict(mine.state_dict())
    wide = {name: b.clone() for name, b in model.named_buffers() if ".narrow." not in name}
    outs = []
    for net, run in ((model, view), (small, small)):
        net.train(train)
        outs.append(run(x))
        outs[-1].square().sum().backward()
    torch.testing.assert_close(*outs, atol=1e-12, rtol=1e-9)
    for shared, name, large, other in matched(model, small):
        found = leading(name, large.grad, other.shape)
        torch.testing.assert_close(
            found, other.grad, atol=1e-12, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )
        if shared:
            # Exactly zero elsewhere: no more entries than the smaller network has.
            assert torch.count_nonzero(large.grad) == torch.count_nonzero(found)
            assert found.any()
    for mine, other in zip(norms, small_norms, strict=True):
        for a, b in zip(mine.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9)
    assert all(torch.equal(wide[name], b) for name, b in model.named_buffers() if name in wide)


def test_unused_weights_are_not_read():
    model, x = made(Residual)
    view = slim(model, width=0.5, example=x)
    model.eval()
    wanted = view(x)
    small = Residual(c=4, groups=2)
    with torch.no_grad():
        for shared, name, large, other in matched(model, small):
            if shared:
                kept = leading(name, large, other.shape).clone()
                large.fill_(math.nan)
                leading(name, large, other.shape).copy_(kept)
    assert torch.equal(view(x), wanted)
    assert model(x).isnan().all()


def attention_by_hand(module, x, heads, padding=None, bias=None):
    """Self-attention of the leading heads of a `torch.nn.MultiheadAttention`, sample by sample, head by head.

    `x` is (b, t, d), `padding` (b, t) is True where no one looks, `bias` (t, t) is added to the scores.
    """
    d, size = module.embed_dim, module.head_dim
    weight, shift = module.in_proj_weight, module.in_proj_bias
    outs, maps = [], []
    for i in range(len(x)):
        out, seen = module.out_proj.bias, []
        for h in range(heads):
            rows = [slice(part * d + h * size, part * d + (h + 1) * size) for part in range(3)]
            q, k, v = (x[i] @ weight[r].T + shift[r] for r in rows)
            scores = q @ k.T / math.sqrt(size)
            if bias is not None:
                scores = scores + bias
            if padding is not None:
                scores = scores.masked_fill(padding[i][None], -math.inf)
            attention = scores.softmax(1)
            seen.append(attention)
            out = out + attention @ v @ module.out_proj.weight[:, h * size : (h + 1) * size].T
        outs.append(out)
        maps.append(torch.stack(seen))
    return torch.stack(outs), torch.stack(maps)


class Attends(nn.Module):
    """One `torch.nn.MultiheadAttention`, called in the way under test."""

    def __init__(self, batch_first, **call):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 4, batch_first=batch_first)
        self.fc = nn.Linear(8, 3)
        self.call, self.maps = call, None

    def forward(self, x):
        first = self.attention.batch_first
        y = x if first else x.transpose(0, 1)
        y, self.maps = self.attention(y, y, y, **self.call)
        return self.fc((y if first else y.transpose(0, 1))[:, 0])


HIDE = torch.tensor([[False, False, True], [False, True, True]])
CAUSAL = torch.triu(torch.full((3, 3), -math.inf), 1)
CALLS = {
    "plain": {"need_weights": False},
    "maps": {},
    "maps of heads": {"average_attn_weights": False},
    "padding": {"key_padding_mask": HIDE, "need_weights": False},
    "both masks": {"key_padding_mask": HIDE, "attn_mask": CAUSAL != 0},
    "causal": {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False},
    "mask of heads": {"attn_mask": CAUSAL.expand(8, 3, 3), "need_weights": False},
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("call", CALLS)
def test_torch_attention_uses_its_leading_heads(call, batch_first):
    torch.manual_seed(0)
    model, x = Attends(batch_first, **CALLS[call]), torch.randn(2, 3, 8)
    nn.init.normal_(model.attention.in_proj_bias)
    plain = copy.deepcopy(model)
    view = slim(model, width=0.5, example=x)
    padding = CALLS[call].get("key_padding_mask")
    bias = CAUSAL if "attn_mask" in CALLS[call] else None
    wide = model(x)
    assert torch.equal(wide, plain(x))
    out = view(x)
    found, maps = attention_by_hand(plain.attention, x, 2, padding, bias)
    wanted = plain.fc(found[:, 0])
    torch.testing.assert_close(out, wanted, atol=1e-6, rtol=1e-5)
    if "maps" in call:
        torch.testing.assert_close(model.maps, maps if "heads" in call else maps.mean(1))
    out.square().sum().backward()
    wanted.square().sum().backward()
    for p, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, other.grad, atol=1e-6, rtol=1e-5)
    # A gradient that is 0 because terms cancel may be rounded; one that nothing enters may not.
    attention = model.attention
    unused = [
        attention.in_proj_weight.grad.view(3, 8, 8)[:, 4:],
        attention.in_proj_bias.grad.view(3, 8)[:, 4:],
    ]
    unused.append(attention.out_proj.weight.grad[:, 4:])
    assert not any(part.any() for part in unused)


def test_attention_takes_a_single_unbatched_sequence():
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.MultiheadAttention(8, 4), "fc": nn.Linear(8, 3)})

    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.fc = model["a"], model["fc"]

        def forward(self, x, hide):
            return self.fc(self.a(x, x, x, key_padding_mask=hide)[0])

    x, hide = torch.randn(3, 8), HIDE[0]
    single = Single()
    view = slim(single, width=0.5, example=(x, hide))
    wanted, _ = attention_by_hand(single.a, x[None], 2, hide[None])
    torch.testing.assert_close(view(x, hide), single.fc(wanted[0]), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_torch_encoder_layers_use_leading_heads_and_inner_channels(batch_first, norm_first):
    model, ids = made(Encoder, batch_first=batch_first, norm_first=norm_first)
    view = slim(model, width=0.5, example=ids)
    x, padding = model.words(ids), ids == 0
    for layer in model.encoder.layers:
        y = layer.norm1(x) if norm_first else x
        x = x + attention_by_hand(layer.self_attn, y, 2, padding)[0]
        x = x if norm_first else layer.norm1(x)
        y = layer.norm2(x) if norm_first else x
        hidden = (y @ layer.linear1.weight[:6].T + layer.linear1.bias[:6]).relu()
        x = x + hidden @ layer.linear2.weight[:, :6].T + layer.linear2.bias
        x = x if norm_first else layer.norm2(x)
    wanted = model.fc(x[:, 0])
    for train in (True, False):
        model.train(train)
        with torch.set_grad_enabled(train):
            torch.testing.assert_close(view(ids), wanted, atol=1e-5, rtol=1e-5)
