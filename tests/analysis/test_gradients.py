"""The share of gradient norm from corrupted samples: against gradients by hand, in float64."""

import json

import pytest
import torch
from torch import nn

import samplewise as sw
from samplewise.analysis import CorruptedGradients, corrupted_gradient_share, full_gradient_share
from samplewise.cli import main
from samplewise.data.outputs import Batch
from tests.cli.narrow import WIDTH, no_digit_is_lost, plain

RNG = torch.Generator().manual_seed(0)
X = torch.randn(9, 5, generator=RNG, dtype=torch.float64)
Y = torch.arange(9) % 3
BAD = torch.arange(9) % 2 == 0
WEIGHTS = torch.linspace(0.5, 2, 9, dtype=torch.float64)


def net(bias=True):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3, bias=bias))
    return layers.double()


def by_hand(model, parameters, weights):
    """One backward for each sample, in eval mode, and the definition."""
    model.eval()
    rows = []
    for x, y, weight in zip(X, Y, weights, strict=True):
        loss = weight * nn.functional.cross_entropy(model(x[None]), y[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    model.train()
    norms = [float(row.norm()) for row in rows]
    of_norms = sum(norm for norm, bad in zip(norms, BAD, strict=True) if bad) / sum(norms)
    bad = torch.stack([row for row, bad in zip(rows, BAD, strict=True) if bad]).sum(0)
    return torch.stack(rows), of_norms, float(bad.norm() / torch.stack(rows).sum(0).norm())


def test_the_shares_are_those_of_the_definition():
    model = net()
    rows, of_norms, of_sum = by_hand(model, [*model.parameters()], torch.ones(9))
    found = corrupted_gradient_share(rows, BAD)
    assert (found.of_samples, found.of_norms, found.of_sum) == pytest.approx((5 / 9, of_norms, of_sum))
    none = corrupted_gradient_share(torch.zeros(9, 2), BAD)
    assert (none.of_norms, none.of_sum) == (0, 0)


def test_full_gradients_are_those_by_hand_and_the_model_stays_as_it_is():
    model = net()
    _, of_norms, of_sum = by_hand(model, [*model.parameters()], WEIGHTS)
    model[1].eval()
    before = [tensor.clone() for tensor in (*model.parameters(), *model.buffers())]

    def forward(data):
        return nn.functional.cross_entropy(model(data[0]), data[1], reduction="none")

    found = full_gradient_share(model, forward, (X, Y), BAD, WEIGHTS)
    assert (found.of_norms, found.of_sum) == pytest.approx((of_norms, of_sum), rel=1e-6)
    assert all(
        torch.equal(a, b) for a, b in zip(before, (*model.parameters(), *model.buffers()), strict=True)
    )
    assert all(p.grad is None for p in model.parameters())
    assert (model.training, model[1].training) == (True, False)


@pytest.mark.parametrize("bias", [True, False])
def test_the_recorder_sees_the_last_layer_as_by_hand(bias):
    model = net(bias)
    _, of_norms, of_sum = by_hand(model, [*model[3].parameters()], WEIGHTS)
    model.eval()
    forward = sw.classifier(model, head="3")
    corrupted = torch.zeros(20, dtype=torch.bool)
    ids = torch.arange(9) + 7
    corrupted[ids] = BAD
    recorder = CorruptedGradients(corrupted, every=2)
    outputs = forward((X, Y))
    first = recorder.record(Batch(ids, (X, Y)), outputs, 0.1, WEIGHTS)
    assert recorder.record(Batch(ids, (X, Y)), outputs, 0.2) is None
    assert (first.of_norms, first.of_sum) == pytest.approx((of_norms, of_sum), rel=1e-9)
    outputs.loss.sum().backward()  # the graph is still there
    with torch.no_grad():  # without a graph, from logits and targets
        recorder.record(Batch(ids, (X, Y)), forward((X, Y)), 0.9, WEIGHTS)
    assert recorder.shares[1].of_norms == pytest.approx(of_norms, rel=1e-9)
    assert recorder.steps == [0, 2]
    assert recorder.curve("of_norms", 2) == ([0.1, 0.9], pytest.approx([of_norms, of_norms]))


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match=r"mask \(n,\) of booleans, got torch.int64 of shape \(3,\)"):
        CorruptedGradients(torch.arange(3))
    with pytest.raises(ValueError, match="model and forward"):
        CorruptedGradients(BAD, model=net())
    batch, outputs = Batch(torch.arange(9), None), sw.Outputs(torch.ones(9), logits=torch.ones(9, 3))
    with pytest.raises(ValueError, match="these lack features"):
        CorruptedGradients(BAD).record(batch, outputs, 0.0)


def test_the_command_trains_side_by_side_on_wrong_labels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [
        "analyse",
        "gradients",
        "--model",
        "mlp",
        "--epochs",
        "2",
        "--limit",
        "200",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--out",
        "g",
    ]
    for name, value in WIDTH.items():
        monkeypatch.setenv(name, value)
    assert main([*words, "--method", "full", "--method", "evolved_sampling:anneal=0"]) == 0
    no_digit_is_lost(plain(capsys.readouterr().out))
    found = json.loads((tmp_path / "g" / "gradients.json").read_text())
    assert found["wrong_labels"] == 0.2
    full, es = found["methods"]
    assert sum(full["of_samples"]) / len(full["of_samples"]) == pytest.approx(0.2, abs=0.02)
    assert len(full["steps"]) == len(es["of_norms"]) == 4
    assert es["mean_of_samples"] != full["mean_of_samples"]
    assert (tmp_path / "g" / "gradients.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--force", "--method", "el2n"]) == 2
    assert "chooses a coreset before the training" in capsys.readouterr().err
