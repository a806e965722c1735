"""What holds for the narrow view of every network: shared weights, own norms, nothing else."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from samplewise import Batch
from samplewise.bench.models import build
from samplewise.proxy import slim
from tests.proxy.nets import ALL, Encoder, Perceptron, Residual, Vit, made

BENCH = ["cnn"]


def case(name):
    """A network, an example and the name of its head."""
    if isinstance(name, str):
        model = build(name, 1, 4, 8, seed=1)
        head = [n for n, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1]
        return model, torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(2)), head
    return *made(name), "fc"


def equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def grads(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def own(name):
    return ".narrow." in name


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kind", [*ALL, *BENCH])
def test_width_1_is_the_plain_network_bit_for_bit(kind, train):
    plain, x, head = case(kind)
    model = copy.deepcopy(plain)
    view = slim(model, width=1, head=head, example=x)
    assert view.flops_share == 1
    outs = []
    for net, run in ((plain, plain), (model, view)):
        net.train(train)
        outs.append(run(x))
        outs[-1].square().sum().backward()
    assert torch.equal(*outs)
    used = {name.replace(".narrow.", "."): grad for name, grad in grads(model).items()}
    assert equal(grads(plain), used)
    state = model.state_dict()
    narrow = {name.replace(".narrow.", "."): value for name, value in view.state_dict().items()}
    assert equal(plain.state_dict(), {n: v for n, v in state.items() if not own(n)} | narrow)


@pytest.mark.parametrize("kind", [*ALL, *BENCH])
def test_the_full_pass_is_what_it_was_and_leaves_the_narrow_norms_alone(kind):
    plain, x, head = case(kind)
    model = copy.deepcopy(plain)
    view = slim(model, width=0.5, head=head, example=x)
    before = copy.deepcopy(view.state_dict())
    for train in (True, False):
        out = []
        for net in (plain, model):
            net.train(train)
            out.append(net(x))
            out[-1].square().sum().backward()
        assert torch.equal(*out)
    assert equal(grads(plain), grads(model))
    assert equal(before, view.state_dict())
    assert equal(plain.state_dict(), {n: v for n, v in model.state_dict().items() if not own(n)})


@pytest.mark.parametrize("kind", [Residual, Vit, Perceptron])
def test_both_widths_learn_in_one_backward(kind):
    model, x = made(kind)
    view = slim(model, example=x)
    alone = []
    for run in (model, view):
        model.zero_grad()
        run(x).square().sum().backward()
        alone.append({name: grad.clone() for name, grad in grads(model).items()})
    model.zero_grad()
    (model(x).square().sum() + view(x).square().sum()).backward()
    both = grads(model)
    for name, grad in both.items():
        wanted = sum(part.get(name, torch.zeros_like(grad)) for part in alone)
        torch.testing.assert_close(grad, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [Residual, Vit, Encoder])
def test_saving_and_loading_keeps_both_widths_bit_for_bit(kind):
    model, x = made(kind)
    view = slim(model, width=0.5, example=x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x).square().mean() + view(x).square().mean()).backward()
        optimizer.step()
    other, _ = made(kind, seed=3)
    again = slim(other, width=0.5, example=x)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    for net in (model, other):
        net.eval()
    assert torch.equal(model(x), other(x))
    assert torch.equal(view(x), again(x))


def test_the_state_of_the_view_is_its_norms_and_moves_to_another_view():
    model, x = made(Residual)
    view = slim(model, width=0.5, example=x)
    view(x)
    names = {name for name in model.state_dict() if own(name)}
    assert set(view.state_dict()) == names
    wanted = {name for name, _ in model.named_parameters() if own(name)}
    params = {id(p) for p in view.own_parameters()}
    assert params == {id(model.get_parameter(name)) for name in wanted}
    assert params <= {id(p) for p in model.parameters()}
    plain = {n: v.clone() for n, v in model.state_dict().items() if not own(n)}
    other, _ = made(Residual, seed=5)
    again = slim(other, width=0.5, example=x)
    again.load_state_dict(view.state_dict())
    assert equal(view.state_dict(), again.state_dict())
    other.load_state_dict(plain, strict=False)
    model.eval()
    other.eval()
    assert torch.equal(view(x), again(x))
    with pytest.raises(ValueError, match=r"names of this narrow view.*bn1.narrow.weight"):
        again.load_state_dict({n: v for n, v in view.state_dict().items() if n != "bn1.narrow.weight"})


@pytest.mark.parametrize("kind", [Residual, Vit, Encoder])
@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))], ids=["copy", "pickle"]
)
def test_a_copy_is_a_view_of_its_own_model(kind, how):
    model, x = made(kind)
    view = slim(model, width=0.5, example=x)
    model.eval()
    twin = how(view)
    assert torch.equal(twin(x), view(x))
    assert torch.equal(twin.model(x), model(x))
    assert not {id(p) for p in twin.model.parameters()} & {id(p) for p in model.parameters()}
    with twin._switch.narrow():  # the copy has a switch of its own
        assert torch.equal(model(x), how(model)(x))


def test_the_head_runs_its_hooks_in_both_passes_and_head_gives_what_it_uses():
    model, x = made(Perceptron)
    view = slim(model, width=0.5, example=x)
    seen = []
    model.fc.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(x)
    logits = view(x)
    assert [tuple(f.shape) for f in seen] == [(4, 8), (4, 4)]
    weight, bias = view.head()
    assert weight.shape == (3, 4)
    assert weight.data_ptr() == model.fc.weight.data_ptr()
    torch.testing.assert_close(seen[1] @ weight.T + bias, logits, atol=1e-6, rtol=1e-5)


def test_an_error_inside_leaves_the_model_at_full_width():
    model, x = made(Residual)
    view = slim(model, width=0.5, example=x)
    wanted = model.eval()(x)
    with pytest.raises(RuntimeError):
        view(torch.zeros(4, 9, 8, 8))
    assert torch.equal(model(x), wanted)


@pytest.mark.parametrize("kind", [Residual, Vit, Encoder])
def test_it_runs_under_autocast(kind):
    model, x = made(kind)
    view = slim(model, width=0.5, example=x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = view(x)
        both = model(x).float().sum() + out.float().square().sum()
    both.backward()
    assert out.dtype == torch.bfloat16
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_norms_over_all_processes_get_a_narrow_one_of_their_kind():
    model, x = made(Residual)
    plain = slim(copy.deepcopy(model), width=0.5, example=x)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    view = slim(model, width=0.5, example=x)
    assert type(model.bn1.narrow) is nn.SyncBatchNorm
    assert torch.equal(view(x), plain(x))
    assert equal(view.state_dict(), plain.state_dict())


def test_frozen_layers_and_double_precision_stay_what_they_are():
    model, x = made(Residual)
    model.double()
    model.bn1.requires_grad_(False)
    view = slim(model, width=0.5, example=x.double())
    assert view(x.double()).dtype == torch.float64
    assert not model.bn1.narrow.weight.requires_grad
    assert model.bn2.narrow.weight.requires_grad


def test_a_model_in_half_precision_is_slimmed_in_half_precision():
    model, x = made(Perceptron)
    tried = []
    model.first.register_forward_hook(lambda layer, given, found: tried.append(found.dtype))
    view = slim(model.bfloat16(), width=0.5, example=x.bfloat16())
    assert set(tried) == {torch.float32}, "rounding must not look like channels in the wrong place"
    assert view(x.bfloat16()).dtype == torch.bfloat16


def test_building_leaves_the_random_state_the_model_and_the_modes_as_found():
    model, x = made(Residual)
    model.short.append(nn.Dropout(0.5))
    model.train()
    model.bn1.eval()
    before = {name: v.clone() for name, v in model.state_dict().items()}
    random = torch.get_rng_state()
    slim(model, width=0.5, example=x)
    assert torch.equal(random, torch.get_rng_state())
    assert equal(before, {n: v for n, v in model.state_dict().items() if not own(n)})
    assert model.training
    assert not model.bn1.training
    assert not model.bn1.narrow.training
    assert model.bn2.narrow.training
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_fused_encoder_of_torch_does_not_pass_by_the_narrow_view():
    model, x = made(Encoder)
    view = slim(model, width=0.5, example=x)
    model.eval()
    wanted = view(x)  # with gradients torch does not fuse
    with torch.no_grad():
        torch.testing.assert_close(view(x), wanted, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(model(x), wanted, atol=1e-3)


def test_examples_may_be_batches_tuples_and_mappings():
    shares = set()
    model, x = made(Perceptron)
    labels = torch.zeros(4, dtype=torch.long)
    for example in (x, (x,), (x, labels), [x, labels], {"x": x}, Batch(torch.arange(4), (x, labels))):
        shares.add(slim(copy.deepcopy(model), example=example).flops_share)
    assert len(shares) == 1
