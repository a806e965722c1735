"""Per-sample gradient norms against a plain loop of autograd, on batches and forwards of every kind."""

import warnings
from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from samplewise import Outputs, classifier, signals
from samplewise.data.layout import Layout
from samplewise.loop import gradients
from samplewise.rng import generator

N = 19
Pair = namedtuple("Pair", ["x", "y"])


@pytest.fixture
def model():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 4)
        )
        net[1].running_mean.normal_()
    return net.eval()


x = torch.randn(N, 1, 6, 6, generator=generator("x"))
y = torch.randint(4, (N,), generator=generator("y"))


def plain(model):
    def forward(batch):
        inputs, targets = batch
        return F.cross_entropy(model(inputs), targets, reduction="none")

    return forward


def looped(model, forward, data, n=N):
    """One backward a sample."""
    found = []
    params = [p for p in model.parameters() if p.requires_grad]
    for i in range(n):
        losses = forward(Layout().take(data, torch.tensor([i]), n))
        loss = (losses.loss if isinstance(losses, Outputs) else losses).sum()
        squares = [g.double().square().sum() for g in torch.autograd.grad(loss, params)]
        found.append(float(sum(squares)) ** 0.5)
    return torch.tensor(found)


@pytest.mark.parametrize("chunk", [1, 4, 16, 64])
def test_norms_equal_a_loop_of_autograd_for_every_chunk(model, chunk):
    with torch.no_grad():
        found = gradients.norms(model, plain(model), (x, y), N, chunk)
        assert not torch.is_grad_enabled()
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, looped(model, plain(model), (x, y)), rtol=1e-5, atol=1e-6)


def batches():
    listed = [(x[i], int(y[i])) for i in range(N)]
    return {
        "mapping": ({"x": x, "y": y, "scale": 2.0, "none": None}, lambda b: (b["x"] * b["scale"], b["y"])),
        "named tuple": (Pair(x, y), lambda b: (b.x, b.y)),
        "nested": ([{"x": x}, (y, torch.tensor(0.5))], lambda b: (b[0]["x"] * b[1][1], b[1][0])),
        "array": ((x.numpy(), y), lambda b: (torch.from_numpy(b[0]), b[1])),
        "list": (listed, lambda b: (torch.stack([s[0] for s in b]), torch.tensor([s[1] for s in b]))),
    }


@pytest.mark.parametrize("kind", batches())
def test_every_kind_of_batch_gives_the_same_norms_as_a_loop(model, kind):
    data, unpack = batches()[kind]

    def forward(batch):
        return plain(model)(unpack(batch))

    with warnings.catch_warnings():
        # Arrays and numbers that differ from sample to sample cannot be mapped over.
        warnings.simplefilter("ignore" if kind in ("array", "list") else "error")
        found = gradients.norms(model, forward, data, N)
    torch.testing.assert_close(found, looped(model, forward, data), rtol=1e-5, atol=1e-6)


def test_everything_is_left_as_it_was_found(model):
    class Counting(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, inputs):
            self.calls.add_(1)
            return F.dropout(self.inner(inputs), 0.3, training=True)

    counting = Counting(model)
    counting.inner[0].weight.grad = torch.ones_like(counting.inner[0].weight)
    before = {name: value.clone() for name, value in counting.state_dict().items()}
    same = {name: id(value) for name, value in counting.named_parameters()}
    flags = [module.training for module in counting.modules()]
    state = torch.get_rng_state()
    for forward in (plain(counting), reads_a_value(counting)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if forward.__name__ == "reading" else "error")
            gradients.norms(counting, forward, (x, y), N)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(value, before[name]) for name, value in counting.state_dict().items())
        assert {name: id(value) for name, value in counting.named_parameters()} == same
        assert [module.training for module in counting.modules()] == flags
        assert [p.grad is None for p in counting.parameters()] == [False] + [True] * 5
        assert all(p.requires_grad for p in counting.parameters())


def reads_a_value(model):
    """A forward that vmap refuses."""

    def reading(batch):
        losses = plain(model)(batch)
        return losses * (2.0 if losses.sum().item() > 1 else 1.0)

    return reading


def test_a_forward_that_vmap_refuses_is_looped_with_one_warning(model):
    forward = reads_a_value(model)
    with pytest.warns(UserWarning, match=r"torch.func.vmap refuses this forward \(.*sample by sample"):
        found = gradients.norms(model, forward, (x, y), N)
    torch.testing.assert_close(found, looped(model, forward, (x, y)), rtol=1e-5, atol=1e-6)
    again = gradients.norms(model, forward, (x, y), N)  # a second warning would be an error
    torch.testing.assert_close(again, found)


def test_what_is_wrong_with_the_forward_itself_is_raised_as_it_is(model):
    def broken(batch):
        raise KeyError("pixels")

    with pytest.raises(KeyError, match="pixels"):
        gradients.norms(model, broken, (x, y), N)
    with pytest.raises(ValueError, match='reduction="none"'):
        gradients.norms(model, lambda batch: plain(model)(batch).mean(), (x, y), N)
    assert gradients.norms(model, plain(model), (x, y), N).shape == (N,)  # and no warning


def test_only_parameters_that_require_gradients_count(model):
    for p in model[:5].parameters():
        p.requires_grad_(False)
    found = gradients.norms(model, plain(model), (x, y), N)
    torch.testing.assert_close(found, looped(model, plain(model), (x, y)), rtol=1e-5, atol=1e-6)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="parameters that require gradients, but none does"):
        gradients.norms(model, plain(model), (x, y), N)


@pytest.mark.parametrize("bias", [True, False])
def test_the_closed_form_is_the_gradient_of_the_last_layer(model, bias):
    for p in model[:5].parameters():
        p.requires_grad_(False)
    if not bias:
        model[5] = nn.Linear(48, 4, bias=False).eval()
    with torch.no_grad():
        features = model[:5](x)
        logits = model[5](features)
    closed = (signals.grand if bias else signals.grand_without_bias)(logits, y, features)
    found = gradients.norms(model, plain(model), (x, y), N)
    torch.testing.assert_close(closed, found, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(closed, looped(model, plain(model), (x, y)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e30, 1e37, 1e-30])
@pytest.mark.parametrize("bias", [True, False])
def test_the_closed_form_holds_for_features_whose_squares_are_no_floats(scale, bias):
    rng = generator("huge")
    logits, features = torch.randn(9, 4, generator=rng), torch.randn(9, 5, generator=rng) * scale
    classes = torch.arange(9) % 4
    closed = (signals.grand if bias else signals.grand_without_bias)(logits, classes, features)
    errors = (logits.double().softmax(1) - torch.eye(4)[classes]).norm(dim=1)
    expected = errors * (features.double().square().sum(1) + bias).sqrt()
    torch.testing.assert_close(closed.double(), expected, rtol=1e-5, atol=0)


def test_shared_weights_count_once_with_both_their_uses():
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    tied = nn.Sequential(first, nn.Tanh(), second)
    inputs = torch.randn(6, 5, generator=generator("inputs"))

    def forward(batch):
        return tied(batch).square().sum(1)

    found = gradients.norms(tied, forward, inputs, 6)
    torch.testing.assert_close(found, looped(tied, forward, inputs, 6), rtol=1e-5, atol=1e-6)


def test_autocast_around_the_call_does_not_coarsen_the_norms(model):
    exact = gradients.norms(model, plain(model), (x, y), N)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        model(x)  # fills the cache of casts, which have no gradient
        assert torch.equal(gradients.norms(model, plain(model), (x, y), N), exact)


def test_a_loss_without_a_graph_has_norm_zero(model):
    def forward(batch):
        return torch.ones(len(batch[1]))

    assert gradients.norms(model, forward, (x, y), N).tolist() == [0.0] * N


def test_outputs_and_hooks_of_the_classifier_work(model):
    forward = classifier(model, head="5")
    found = gradients.norms(model, forward, (x, y), N)
    torch.testing.assert_close(found, looped(model, plain(model), (x, y)), rtol=1e-5, atol=1e-6)
    # The hook holds nothing of the mapped forwards.
    assert torch.equal(forward((x, y)).features, model[:5](x))
