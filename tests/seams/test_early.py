"""`Scoring(at=...)`: the scoring forward ends at a layer, and a head beside the model gives the losses."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import samplewise as sw
from samplewise.loop.head import BETAS, EPSILON, RATE, Head, pooled
from tests.ranks import on_ranks
from tests.seams.test_view import EPOCHS, B, Images, N


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.deep, self.fc = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(4, 3),
        )
        self.spare = nn.Linear(2, 2)
        self.ran = []

    def forward(self, x):
        middle = self.conv(x).relu()
        self.ran.append(("conv", len(x), torch.is_grad_enabled()))
        out = self.deep(middle).relu().mean((2, 3))
        self.ran.append(("deep", len(x), torch.is_grad_enabled()))
        return self.fc(out)


CONV, DEEP, FC = 2 * 4 * 3 * 9 * 64, 2 * 4 * 4 * 9 * 64, 2 * 4 * 3
"""FLOPs a row, by hand. The head on `conv` has as many as `fc`."""


def build(name="ordered_sgd", at="conv", model=None, **given):
    model = Net() if model is None else model
    policy = sw.recipes.get(name)(**({"keep": 0.5} | given))
    selector = sw.Selector(
        policy,
        Images(),
        sw.classifier(model),
        model=model,
        epochs=EPOCHS,
        batch_size=B,
        scoring=sw.Scoring(at=at),
    )
    return selector, model, torch.optim.SGD(model.parameters(), lr=0.1)


def train(selector, optimizer, stop=None):
    """The losses; `stop` after this many steps."""
    losses = []
    for _ in range(selector.epoch, EPOCHS):
        for batch in selector.loader():
            optimizer.zero_grad()
            loss = selector.loss(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == stop:
                return losses
    return losses


def head_of(selector):
    return selector.state_dict()["scoring"]["head"]


@pytest.mark.parametrize(
    ("name", "more"), [("ordered_sgd", {}), ("ucb", {"period": 2}), ("uncertainty", {"period": 2})]
)
def test_the_forward_ends_early_and_costs_what_it_computes(name, more):
    selector, model, optimizer = build(name, **more)
    train(selector, optimizer)
    scored = [name for name, _, grad in model.ran if not grad]
    assert scored == []  # the hook runs before the line after the layer
    ledger, trained = selector.ledger, sum(rows for at, rows, grad in model.ran if grad and at == "deep")
    assert (ledger.scoring_forwards, trained) == (0, ledger.samples_backpropagated)
    cheap = ledger.cheap_scoring_forwards
    assert cheap == {"ordered_sgd": N * EPOCHS}.get(name, N * 2)
    first = 4 if name == "ordered_sgd" else 8
    learned = 2 * FC * (trained - first)
    assert ledger.cheap_flops == cheap * (CONV + FC) + learned
    whole = CONV + DEEP + FC
    assert ledger.cost == pytest.approx(3 * trained + (cheap * (CONV + FC) + learned) / whole, rel=1e-12)
    assert not any(module._forward_hooks for module in model.modules() if module is not model.fc)


def test_the_head_is_that_of_torchs_adam():
    selector, model, optimizer = build()
    seen = []
    model.conv.register_forward_hook(
        lambda m, i, out: seen.append(out.detach()) if torch.is_grad_enabled() else None
    )
    ids, narrow = [], selector._step.narrow
    selector._step.narrow = lambda batch: ids.append(narrow(batch)) or ids[-1]
    train(selector, optimizer, stop=5)
    start = Head(3, seed=0)
    start(torch.zeros(1, 4))
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        for own, given in zip((layer.weight, layer.bias), start.layer, strict=True):
            own.copy_(given)
    adam = torch.optim.Adam(layer.parameters(), lr=RATE, betas=BETAS, eps=EPSILON)
    for output, batch in list(zip(seen, ids, strict=True))[1:]:
        means = output.mean((2, 3))
        scaled = (means - means.mean(1, keepdim=True)) / (
            means.var(1, unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
        adam.zero_grad()
        F.cross_entropy(layer(scaled), Images().targets[batch.ids]).backward()
        adam.step()
    head = head_of(selector)
    assert head["steps"] == 4
    torch.testing.assert_close(head["weight"], layer.weight.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head["bias"], layer.bias.detach(), rtol=1e-4, atol=1e-6)


def test_scores_are_the_losses_of_the_head():
    selector, model, optimizer = build("ucb", period=2)
    selector.engine.memory.remember = lambda *given, own=selector.engine.memory.remember: (
        told.append(given[1]) or own(*given)
    )
    told = []
    train(selector, optimizer, stop=2)  # epoch 0 ends
    selector.set_epoch(1)
    told.clear()
    selector.set_epoch(2)
    head, data = head_of(selector), Images()
    with torch.no_grad():
        features = pooled(model.conv(data.x), None, N, "conv")
        logits = F.linear(features, head["weight"], head["bias"])
    torch.testing.assert_close(torch.cat([outputs.logits for outputs in told]), logits)
    losses = F.cross_entropy(logits, data.targets, reduction="none")
    torch.testing.assert_close(torch.cat([outputs.loss for outputs in told]), losses)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_resume_changes_nothing(stop, tmp_path):
    whole = build()
    losses = train(whole[0], whole[2])
    first = build()
    train(first[0], first[2], stop=stop)
    sw.save(tmp_path / "c.pt", [part.state_dict() for part in first])
    again = build()
    for part, state in zip(again, sw.load(tmp_path / "c.pt"), strict=True):
        part.load_state_dict(state)
    assert train(again[0], again[2]) == losses[stop:]
    assert whole[0].ledger.cheap_flops == again[0].ledger.cheap_flops
    assert all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(head_of(whole[0]).values(), head_of(again[0]).values(), strict=True)
    )


@pytest.mark.parametrize("how", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_copy_changes_nothing(how):
    original = build()
    train(original[0], original[2], stop=4)
    selector, _, optimizer = how(original)
    whole = build()
    assert train(selector, optimizer) == train(whole[0], whole[2])[4:]


def test_a_state_without_head_is_refused():
    plain = sw.Selector("ordered_sgd", Images(), model=Net(), epochs=EPOCHS, batch_size=B)
    with pytest.raises(ValueError, match="Give both the same"):
        plain.load_state_dict(build()[0].state_dict() | {"policy": repr(plain.policy)})
    damaged = build()[0].state_dict()
    damaged["scoring"]["head"]["weight"] = torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"\['scoring'\]\['head'\]\['weight'\] must have 3 rows, got 2"):
        build()[0].load_state_dict(damaged)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: build(at="cnv"),
            r"Scoring.at must name a module of the model.*got 'cnv'. Did you mean 'conv'",
        ),
        (lambda: build("grand", layer="full"), "Scoring.at cannot be used with grand, which needs gradients"),
        (
            lambda: sw.Selector("ucb", 9, model=Net(), epochs=3, scoring=sw.Scoring(at="fc")),
            "Scoring.at needs targets for its head",
        ),
        (
            lambda: sw.Selector("ucb", 9, epochs=3, scoring=sw.Scoring(at="fc")),
            r"needs Selector\(model=...\)",
        ),
    ],
)
def test_what_cannot_work_is_an_error_when_built(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_layer_that_never_runs_is_an_error_at_the_first_batch():
    selector, model, optimizer = build(at="spare")
    with pytest.raises(ValueError, match="must name a layer that forward runs, but 'spare' did not run"):
        train(selector, optimizer)
    assert model.training
    assert not model.spare._forward_hooks


def test_a_method_that_never_scores_ignores_it():
    plain = sw.Selector(
        "infobatch", Images(), sw.classifier(Net()), epochs=4, batch_size=B, scoring=sw.Scoring(at="nothing")
    )
    assert "scoring" not in plain.state_dict()


def test_tokens_are_averaged_under_the_attention_mask():
    output, mask = torch.randn(2, 5, 6), torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    means = torch.stack([output[0, :2].mean(0), output[1].mean(0)])
    expected = (means - means.mean(1, keepdim=True)) / (
        means.var(1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    torch.testing.assert_close(pooled((output, None), mask, 2, "block"), expected)
    with pytest.raises(ValueError, match=r"block must return numbers with 3 rows first, got .* \(2, 5, 6\)"):
        pooled(output, mask, 3, "block")
    with pytest.raises(ValueError, match="block must return a tensor, got str"):
        pooled("no", None, 2, "block")


def ranked(rank, world):
    selector, _, optimizer = build()
    train(selector, optimizer)
    return head_of(selector)


def test_all_ranks_have_the_same_head(tmp_path):
    (ranks,) = on_ranks(ranked, (2,), tmp_path).values()
    assert ranks[0]["steps"] == ranks[1]["steps"] > 0
    for name in ("weight", "bias", "weight_mean", "bias_square"):
        assert torch.equal(ranks[0][name], ranks[1][name])
