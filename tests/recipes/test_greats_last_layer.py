"""`greats_last_layer` against plain Python: products of gradients written out number by number."""

import itertools
import math

import numpy as np
import pytest
import torch
from plain import count
from torch import nn
from torch.nn import functional as F
from torch.utils.data import default_collate

import samplewise as sw
from samplewise import last_layer
from samplewise.last_layer import TargetGradient

N, B, D, C = 12, 4, 3, 4


class Rows(torch.utils.data.Dataset):
    """(x, y) of random numbers, on a seed."""

    def __init__(self, n=N, seed=0, classes=C):
        rng = torch.Generator().manual_seed(seed)
        self.x, self.targets = torch.randn(n, 5, generator=rng), torch.arange(n) % classes

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.targets[i]

    def batch(self):
        return self.x, self.targets


class Net(nn.Module):
    """Features of one layer, and a head. It notes the rows of each forward."""

    def __init__(self, bias=True, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(5, D), nn.Tanh(), nn.Dropout(dropout))
        self.fc, self.seen = nn.Linear(D, C, bias=bias), []

    def forward(self, x):
        self.seen.append((len(x), torch.is_grad_enabled(), self.training, torch.is_autocast_enabled("cpu")))
        return self.fc(self.body(x))


def gradient(logits, target, h, bias):
    """The gradient of the cross-entropy of one row in the last layer, as a list of numbers."""
    top = max(logits)
    shares = [math.exp(value - top) for value in logits]
    errors = [share / math.fsum(shares) - (c == target) for c, share in enumerate(shares)]
    return [e * x for e in errors for x in ([*h, 1.0] if bias else h)]


def plain(rows, target_rows, bias):
    """The product of each row's gradient with the mean gradient of the target rows."""
    theirs = [gradient(*row, bias) for row in target_rows]
    mean = [math.fsum(numbers) / len(theirs) for numbers in zip(*theirs, strict=True)]
    return [math.fsum(a * b for a, b in zip(gradient(*row, bias), mean, strict=True)) for row in rows]


def drawn(seed, m, d=D, c=C, scale=1.0):
    rng = np.random.default_rng(seed)
    return [
        ((scale * rng.normal(size=c)).tolist(), int(rng.integers(c)), (scale * rng.normal(size=d)).tolist())
        for _ in range(m)
    ]


def shown(rows, bias, dtype=torch.float32):
    logits, targets, features = (torch.tensor([row[k] for row in rows]) for k in range(3))
    head = torch.zeros(len(rows[0][0]), len(rows[0][2])), torch.zeros(len(rows[0][0])) if bias else None
    return sw.Outputs(torch.zeros(len(rows)), logits.to(dtype), targets, features.to(dtype), head)


# With 4 classes and 3 inputs, one row is kept as factors, and nine as the matrix.
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("m", [1, 9])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_products_are_those_of_the_explicit_gradients(bias, m, scale):
    rows, target = drawn(0, 7, scale=scale), drawn(1, m, scale=scale)
    found = TargetGradient.of([shown(target, bias)])
    assert (found.matrix is None) == (m == 1)
    expected = plain(rows, target, bias)
    assert found.products(shown(rows, bias)).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4 * scale)


@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_autograd(bias):
    torch.manual_seed(1)
    layer, h, y = nn.Linear(D, C, bias=bias), torch.randn(9, D), torch.arange(9) % C
    parameters = list(layer.parameters())

    def flat(rows):
        loss = F.cross_entropy(layer(h[rows]), y[rows])
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])

    logits = layer(h).detach()
    outputs = sw.Outputs(torch.zeros(9), logits, y, h, (layer.weight, layer.bias))
    target = sw.Outputs(torch.zeros(5), logits[:5], y[:5], h[:5], (layer.weight, layer.bias))
    products = TargetGradient.of([target]).products(outputs)
    mean = flat(list(range(5)))
    torch.testing.assert_close(products, torch.stack([flat([i]) @ mean for i in range(9)]))


@pytest.mark.parametrize("bias", [True, False])
def test_matrix_and_factors_are_equal_and_the_parts_do_not_matter(bias, monkeypatch):
    rows, target = drawn(0, 6, d=40, c=30), drawn(1, 15, d=40, c=30)
    few = TargetGradient.of([shown(target, bias)])
    many = TargetGradient.of([shown(target * 20, bias)])  # the same mean
    assert few.matrix is None
    assert many.matrix is not None
    assert many.factors == ()
    expected = few.products(shown(rows, bias))
    torch.testing.assert_close(many.products(shown(rows, bias)), expected)
    for cut in ((4, 11), (1, 1, 13)):
        at = np.cumsum((0, *cut))
        parts = [shown(target[a:b], bias) for a, b in itertools.pairwise(at)]
        torch.testing.assert_close(TargetGradient.of(parts).products(shown(rows, bias)), expected)
        torch.testing.assert_close(TargetGradient.of(parts * 20).products(shown(rows, bias)), expected)
    monkeypatch.setattr(last_layer, "_NUMBERS", 12)  # blocks of two target rows
    torch.testing.assert_close(few.products(shown(rows, bias)), expected)
    assert expected.tolist() == pytest.approx(plain(rows, target, bias), rel=1e-3, abs=1e-3)


def test_what_is_kept_is_the_smaller_form():
    for m in (1, 5, 9, 10, 30, 500):
        found = TargetGradient.of([shown(drawn(0, 1, d=20, c=20), True)] * m)
        kept = sum(factor.numel() for part in found.factors for factor in part)
        kept += 0 if found.matrix is None else found.matrix.numel()
        assert kept == min(m * (20 + 21), 20 * 21)


def test_half_precision_is_multiplied_in_single():
    rows, target = drawn(0, 7), drawn(1, 9)
    for dtype in (torch.bfloat16, torch.float16):
        given, theirs = (shown(part, True, dtype) for part in (rows, target))
        single = [
            sw.Outputs(o.loss, o.logits.float(), o.targets, o.features.float(), o.head)
            for o in (given, theirs)
        ]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = TargetGradient.of([theirs]).products(given)
        assert found.dtype == torch.float32
        assert torch.equal(found, TargetGradient.of(single[1:]).products(single[0]))
    wide = TargetGradient.of([shown(target, True, torch.float64)]).products(shown(rows, True, torch.float64))
    assert wide.dtype == torch.float64
    exact = [
        [[float(torch.tensor(x)) for x in z], y, [float(torch.tensor(x)) for x in h]] for z, y, h in rows
    ]
    theirs = [
        [[float(torch.tensor(x)) for x in z], y, [float(torch.tensor(x)) for x in h]] for z, y, h in target
    ]
    assert wide.tolist() == pytest.approx(plain(exact, theirs, True), rel=1e-12, abs=1e-12)


def test_fields_that_are_missing_are_named():
    full = shown(drawn(0, 2), True)
    for name in ("logits", "targets", "features", "head"):
        fields = {**vars(full), name: None}
        with pytest.raises(ValueError, match=f"a target set needs {name}: return sw.Outputs"):
            TargetGradient.of([sw.Outputs(**fields)])
    with pytest.raises(ValueError, match="at least one row, got none"):
        TargetGradient.of([])


# ------------------------------------------------------------------------------ in a training


def selector_of(model, target, keep=0.5, epochs=2, **more):
    scoring = sw.Scoring(target=target, **more)
    policy = sw.recipes.greats_last_layer(keep)
    forward = sw.classifier(model)
    return sw.Selector(policy, Rows(), forward, model=model, epochs=epochs, batch_size=B, scoring=scoring)


def by_hand(model, batch, target, bias):
    """The scores of a batch by the model as it is, without the library."""

    def rows(x, y):
        with torch.no_grad():
            h = torch.tanh(F.linear(x, model.body[0].weight, model.body[0].bias))
            logits = F.linear(h, model.fc.weight, model.fc.bias)
        return list(zip(logits.tolist(), y.tolist(), h.tolist(), strict=True))

    return plain(rows(*batch.data), rows(*target), bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("form", ["batch", "Batch", "data set", "parts"])
def test_a_training_keeps_the_rows_with_the_highest_products_of_the_moment(bias, form):
    model, rows = Net(bias, dropout=0.5), Rows(7, seed=1)
    target = {
        "batch": rows.batch(), "Batch": sw.Batch(torch.arange(7), rows.batch()), "data set": rows,
        "parts": sw.Target(rows, batch_size=3, collate=default_collate),
    }[form]  # fmt: skip
    selector = selector_of(model, target)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scores = {}
    for _ in range(2):
        for batch in selector.loader():
            expected = by_hand(model, batch, rows.batch(), bias)
            scores |= dict(zip(batch.ids.tolist(), expected, strict=True))
            k = count(B, 0.5, least=2)
            best = sorted(sorted(range(B), key=lambda i: (-expected[i], i))[:k])
            narrowed = selector.narrow(batch)
            assert narrowed.ids.tolist() == [int(batch.ids[i]) for i in best]
            optimizer.zero_grad()
            selector.reduce(selector.forward(narrowed.data)).backward()
            optimizer.step()
    assert selector.score().tolist() == pytest.approx([scores[i] for i in range(N)], rel=1e-3, abs=1e-5)
    steps = 2 * N // B
    assert selector.ledger.scoring_forwards == steps * (B + 7)
    assert selector.ledger.samples_backpropagated == steps * 2
    assert selector.ledger.cost == steps * (B + 7) + 3 * steps * 2


def test_a_small_step_on_a_row_changes_the_targets_loss_by_its_score():
    model, rows = Net(), Rows(7, seed=1)
    selector = selector_of(model, rows)
    batch = next(iter(selector.loader()))
    selector.narrow(batch)
    head, x, y = list(model.fc.parameters()), *rows.batch()
    for i, score in zip(range(B), selector.score()[batch.ids].tolist(), strict=True):
        loss = F.cross_entropy(model(batch.data[0][[i]]), batch.data[1][[i]])
        step = torch.autograd.grad(loss, head)
        with torch.no_grad():
            before = F.cross_entropy(model(x).double(), y)
            kept = [p.clone() for p in head]
            for p, g in zip(head, step, strict=True):
                p -= 1e-2 * g
            after = F.cross_entropy(model(x).double(), y)
            for p, old in zip(head, kept, strict=True):
                p.copy_(old)
        assert float(before - after) / 1e-2 == pytest.approx(score, abs=0.02)


def test_the_targets_forward_leaves_no_trace_and_has_the_mode_and_type_of_scoring():
    for scoring in ({}, {"mode": "train"}, {"dtype": torch.bfloat16}):
        model = Net(dropout=0.5).train()
        selector = selector_of(model, Rows(7, seed=1), **scoring)
        batch = next(iter(selector.loader()))
        before = torch.get_rng_state(), [p.clone() for p in model.parameters()]
        selector.narrow(batch)
        train, half = scoring.get("mode") == "train", "dtype" in scoring
        assert model.seen == [(B, False, train, half), (7, False, train, half)]
        assert torch.equal(before[0], torch.get_rng_state())
        assert all(map(torch.equal, before[1], model.parameters()))
        assert all(module.training for module in model.modules())
        assert all(p.grad is None for p in model.parameters())


def test_a_view_is_for_the_target_too_and_the_ledger_counts_its_flops():
    model = Net()
    selector = selector_of(model, Rows(7, seed=1), view=lambda data: (data[0] * 1, data[1]))
    for batch in selector.loader():
        selector.loss(batch).backward()
    ledger = selector.ledger
    assert (ledger.scoring_forwards, ledger.cheap_scoring_forwards) == (0, 3 * (B + 7))
    assert ledger.cheap_flops == 3 * (B + 7) * 2 * (5 * D + D * C)


def test_a_small_model_scores_the_target_too():
    model, small = Net(), Net(bias=False)
    selector = selector_of(model, Rows(7, seed=1), scorer=sw.Scorer(small, every=None))
    batch = next(iter(selector.loader()))
    chosen = selector.narrow(batch).ids
    assert model.seen == []
    expected = by_hand(small, batch, Rows(7, seed=1).batch(), False)
    assert selector.score()[batch.ids].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert len(chosen) == 2


def test_epochs_between_choose_by_stored_scores_and_observe_nothing():
    model = Net()
    selector = selector_of(model, Rows(7, seed=1), epochs=4, every=2)
    for epoch in range(4):
        before = selector.score().clone() if epoch else None
        scored = len(model.seen)
        for batch in selector.loader():
            narrowed = selector.narrow(batch)
            assert not selector.awaits_losses
            selector.reduce(selector.forward(narrowed.data))
        grads = [grad for _, grad, *_ in model.seen[scored:]]
        assert grads.count(False) == (0 if epoch % 2 else 6)
        if epoch % 2:
            assert torch.equal(selector.score(), before)


def test_a_plain_epoch_needs_no_product():
    policy = sw.recipes.greats_last_layer(sw.schedules.Between(0.5, 1.0, stop=0.5))
    model = Net()
    selector = sw.Selector(
        policy, Rows(), sw.classifier(model), model=model, epochs=2, batch_size=B,
        scoring=sw.Scoring(target=Rows(3)),
    )  # fmt: skip
    for _ in range(2):
        for batch in selector.loader():
            selector.loss(batch).backward()
    assert selector.ledger.samples_backpropagated == N // 2 + N


def test_a_loop_of_ones_own_gives_the_products():
    selector = sw.Selector(sw.recipes.greats_last_layer(), N, epochs=1)
    selector.plan(0)
    rows, target = drawn(0, 4), drawn(1, 3)
    outputs = shown(rows, True)
    with pytest.raises(ValueError, match="greats_last_layer needs target_product"):
        selector.observe(torch.arange(4), outputs)
    products = TargetGradient.of([shown(target, True)]).products(outputs)
    selector.observe(torch.arange(4), sw.Outputs(outputs.loss, target_product=products))
    expected = plain(rows, target, True)
    best = sorted(sorted(range(4), key=lambda i: -expected[i])[:2])
    assert selector.choose(torch.arange(4))[0].tolist() == best


def test_a_stream_without_end_chooses_towards_a_target():
    model, rows = Net(), Rows()
    selector = sw.Selector(
        "greats_last_layer", None, sw.classifier(model), model=model, epochs=1,
        scoring=sw.Scoring(target=Rows(3)),
    )  # fmt: skip
    selector.set_epoch(0)
    batch = sw.Batch(torch.arange(B), (rows.x[:B], rows.targets[:B]))
    expected = by_hand(model, batch, Rows(3).batch(), True)
    best = sorted(sorted(range(B), key=lambda i: -expected[i])[:2])
    assert selector.narrow(batch).ids.tolist() == best


def test_it_combines_with_a_method_for_epochs_that_makes_passes():
    policy = sw.combine(sw.recipes.ucb(keep=0.5, period=1), sw.recipes.greats_last_layer())
    model = Net()
    selector = sw.Selector(
        policy, Rows(), sw.classifier(model), model=model, epochs=3, batch_size=B,
        scoring=sw.Scoring(target=Rows(3)),
    )  # fmt: skip
    for _ in range(3):
        for batch in selector.loader(drop_last=True):
            selector.loss(batch).backward()
    assert selector.ledger.scoring_forwards == 3 * N + 3 * (4 + 3)


# ------------------------------------------------------------------------------------ refusals


def test_bad_targets_are_refused_at_the_start():
    model = Net()
    for target, said in (
        ((torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)), "at least one row, got an empty batch"),
        (Rows(0), "at least one sample, got an empty data set"),
        ((["a"], ["b"]), "must be a batch with tensors, or a map-style data set, got tuple"),
        (Rows(7, classes=6), r"must be in \[0, 4\), the classes of the head, got 0 to 5"),
    ):
        with pytest.raises(ValueError, match=said):
            selector_of(model, target)
    with pytest.raises(ValueError, match=r"Target.collate is for a data set"):
        sw.Target(Rows(2).batch(), collate=list)
    with pytest.raises(ValueError, match=r"Target.batch_size must be"):
        sw.Target(Rows(2), batch_size=0)
    with pytest.raises(ValueError, match="got None"):
        sw.Target(None)


def made(policy, scoring=None, forward=None, n=N):
    model = Net()
    return sw.Selector(
        policy, Rows(n), forward or sw.classifier(model), model=model, epochs=4, batch_size=B, scoring=scoring
    )


def test_a_missing_and_a_useless_target_are_refused_at_the_start():
    with pytest.raises(
        ValueError, match=r"greats_last_layer needs a target set.*scoring=sw.Scoring.*make_selective"
    ):
        made("greats_last_layer")
    with pytest.raises(ValueError, match=r"Scoring.target cannot be used with ordered_sgd.*Leave it out"):
        made("ordered_sgd", sw.Scoring(target=Rows(3)))
    with pytest.raises(ValueError, match=r"Scoring.at='body.0' cannot be used with greats_last_layer"):
        made("greats_last_layer", sw.Scoring(target=Rows(3), at="body.0"))
    by_pass = sw.Policy(
        signal=last_layer.target_product,
        tracker=sw.trackers.Last(),
        picker=sw.pickers.TopK(0.5),
        source="pass",
    )
    with pytest.raises(ValueError, match="outside of batches"):
        made(by_pass, sw.Scoring(target=Rows(3)))
    both = sw.combine(sw.recipes.infobatch(), sw.recipes.greats_last_layer())
    with pytest.raises(ValueError, match="its choice of epochs remembers training losses"):
        made(both, sw.Scoring(target=Rows(3)))


def test_what_the_forward_cannot_do_is_refused_at_the_first_step():
    def run(forward, target=None):
        selector = made(
            "greats_last_layer", sw.Scoring(target=Rows(3) if target is None else target), forward
        )
        selector.loss(next(iter(selector.loader())))

    full = sw.classifier(Net())
    for name in ("features", "head", "logits"):
        with pytest.raises(ValueError, match=f"greats_last_layer needs {name}: return sw.Outputs"):
            run(lambda data, name=name: sw.Outputs(**{**vars(full(data)), name: None}))
    with pytest.raises(ValueError, match=r"forward cannot take Scoring.target.* Its error: too many values"):
        run(lambda data: full(data), target=(torch.zeros(2, 5), torch.zeros(2).long(), torch.zeros(2)))

    def clamped(data):  # a forward that does not notice classes that the head does not have
        found = full((data[0], data[1].clamp(max=C - 1)))
        return sw.Outputs(**{**vars(found), "targets": data[1]})

    with pytest.raises(ValueError, match=r"targets.* must be in \[0, 4\).* got 0 to 5"):
        run(clamped, target=Rows(7, classes=6))

    def tokens(data):
        found = full(data)
        return sw.Outputs(**{**vars(found), "logits": found.logits[:, None].expand(-1, 3, -1)})

    with pytest.raises(ValueError, match=r"Outputs.logits must have shape"):
        run(tokens)


def test_processes_with_other_target_rows_are_told_apart():
    def told(rows):
        settings = selector_of(Net(), rows)._step.scoring_forward.settings()
        return settings["target set"]

    near = Rows(7, seed=1)
    near.x = near.x + 1e-6  # as another machine decodes a picture
    assert told(Rows(7, seed=1)) == told(near)
    assert told(Rows(7)) != told(Rows(6))
    assert told(Rows(7)) != told(Rows(7, classes=3))
