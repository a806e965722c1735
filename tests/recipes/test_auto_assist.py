"""`auto_assist`: a logistic regression that learns along says which rows are worth a forward."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier
from torch.nn import functional as F

import samplewise as sw
from samplewise.recipes.assist.network import Assistant, first_tensor
from samplewise.rng import generator, seed_of
from tests.seams.toys import CLASSES, Dicts, N, Net, OnlyX, Tensors, make, step

B = 8


class ByHand:
    """The rules in plain Python, one number at a time."""

    def __init__(self, base, lr, classes, width):
        self.base, self.lr, self.classes = base, lr, classes
        self.seen, self.weights, self.bias, self.average = [], [0.0] * (width + classes), 0.0, None

    def inputs(self, rows, labels):
        """Standardised by all rows so far, with the one-hot label beside them."""
        self.seen += rows
        out = []
        for row, label in zip(rows, labels, strict=True):
            z = []
            for j, value in enumerate(row):
                column = [old[j] for old in self.seen]
                mean = sum(column) / len(column)
                deviation = math.sqrt(sum((old - mean) ** 2 for old in column) / len(column))
                z.append((value - mean) / deviation if deviation > 0 else 0.0)
            out.append(z + [float(label == c) for c in range(self.classes)])
        return out

    def large(self, z):
        return 1 / (1 + math.exp(-self.bias - sum(w * v for w, v in zip(self.weights, z, strict=True))))

    def accept(self, inputs, ids, drawn):
        chances = [self.base + (1 - self.base) * self.large(z) for z in inputs]
        rows = [row for row, chance in enumerate(chances) if drawn[row] < chance]
        for row in sorted(range(len(ids)), key=lambda row: (-chances[row], ids[row])):
            if len(rows) < min(2, len(ids)) and row not in rows:
                rows.append(row)
        return sorted(rows)

    def learn(self, inputs, losses):
        mean = sum(losses) / len(losses)
        self.average = mean if self.average is None else self.average
        wrong = [self.large(z) - (loss > self.average) for z, loss in zip(inputs, losses, strict=True)]
        for j in range(len(self.weights)):
            self.weights[j] -= (
                self.lr * sum(w * z[j] for w, z in zip(wrong, inputs, strict=True)) / len(wrong)
            )
        self.bias -= self.lr * sum(wrong) / len(wrong)
        self.average = 0.1 * mean + 0.9 * self.average


@pytest.mark.parametrize(("base", "lr"), [(0.3, 0.01), (0.0, 0.5), (0.8, 0.1)])
def test_a_run_is_the_rules_by_hand(base, lr):
    selector, model = make(sw.recipes.auto_assist(base=base, lr=lr), epochs=3)
    data = Tensors()
    plain = ByHand(base, lr, CLASSES, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    numbers = set()
    for epoch in range(3):
        for number, batch in enumerate(selector.loader()):
            ids = batch.ids.tolist()
            inputs = plain.inputs([data.x[i].tolist() for i in ids], [i % CLASSES for i in ids])
            rng = torch.Generator().manual_seed(seed_of(0, epoch, "choose", number, 0))
            drawn = torch.rand(len(ids), dtype=torch.float64, generator=rng).tolist()
            rows = plain.accept(inputs, ids, drawn)
            chosen = selector.narrow(batch)
            assert chosen.ids.tolist() == [ids[row] for row in rows]
            numbers.add(len(rows))
            losses = F.cross_entropy(model(chosen.data[0]), chosen.data[1], reduction="none")
            loss = selector.reduce(losses)
            assert loss.item() == pytest.approx(losses.mean().item())
            plain.learn([inputs[row] for row in rows], losses.tolist())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    state = selector.state_dict()["engine"]["method"]
    assert state["assistant"]["weight"].tolist() == pytest.approx(plain.weights, abs=1e-5)
    assert state["assistant"]["bias"].item() == pytest.approx(plain.bias, abs=1e-6)
    assert state["average"].item() == pytest.approx(plain.average, rel=1e-5)
    assert len(numbers) > 1


def test_the_gradient_step_is_that_of_scikit_learn():
    """One row at a time, where both take the same step."""
    rng = generator("rows")
    z, answers = torch.randn(50, 3, generator=rng), torch.rand(50, generator=rng) < 0.3
    other = SGDClassifier(loss="log_loss", alpha=0.0, learning_rate="constant", eta0=0.2)
    ours = Assistant(0.2)
    ours.entries = {"weight": torch.zeros(3), "bias": torch.zeros(())}
    for row in range(50):
        one = slice(row, row + 1)
        ours.learn(z[one], answers[one], torch.ones(1, dtype=torch.bool))
        other.partial_fit(z[one].numpy(), answers[one].numpy(), classes=np.array([False, True]))
    assert ours.entries["weight"].tolist() == pytest.approx(other.coef_[0].tolist(), abs=1e-5)
    assert ours.entries["bias"].item() == pytest.approx(other.intercept_[0], abs=1e-5)


def test_the_moments_are_those_of_all_inputs_also_far_from_zero():
    rng, assistant = generator("moments"), Assistant(0.01)
    parts = [torch.randn(b, 3, generator=rng) * torch.tensor([1.0, 50.0, 0.0]) + 1000 for b in (5, 1, 64, 30)]
    for part in parts:
        z = assistant.standardised(part)
    everything = torch.cat(parts).double()
    deviation = everything.std(0, unbiased=False)
    expected = (parts[-1] - everything.mean(0)) / deviation
    torch.testing.assert_close(z[:, :2].double(), expected[:, :2], rtol=1e-3, atol=1e-3)
    assert (z[:, 2] == 0).all()


def test_rows_that_are_not_accepted_are_never_forwarded_and_the_cost_is_exact():
    selector, model = make(sw.recipes.auto_assist(base=0.1), epochs=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches, width = 0, 4 + CLASSES
    for _ in range(3):
        for batch in selector.loader():
            step(selector, optimizer, batch)
            batches += 1
    assert all(grad for _, _, grad in model.calls)
    trained = sum(rows for rows, _, _ in model.calls)
    assert len(model.calls) == batches == 3 * N // B
    ledger = selector.ledger
    assert ledger.scoring_forwards == 0
    assert ledger.samples_backpropagated == ledger.training_forwards == trained < 3 * N
    assert selector.table().times_selected.sum() == trained
    assert ledger.forward_flops == 2 * (4 * 8 + 8 * CLASSES)
    # A prediction for every row; for those that trained another one and the gradient.
    assert ledger.assistant_flops == 2 * width * 3 * N + 4 * width * trained
    assert ledger.cost == pytest.approx(3 * trained + ledger.assistant_flops / ledger.forward_flops)
    assert f"assistant, in forwards   {ledger.assistant_cost:14,.1f}" in str(ledger)


def test_a_loop_of_ones_own_is_measured_by_the_models_first_forward():
    selector, model = make("auto_assist", forward=lambda batch: None)
    hooks = len(model._forward_hooks), len(model._forward_pre_hooks)
    assert selector.ledger.forward_flops is None
    for batch in selector.loader():
        x, y = selector.narrow(batch).data
        selector.reduce(F.cross_entropy(model(x), y, reduction="none"))
    assert selector.ledger.forward_flops == 2 * (4 * 8 + 8 * CLASSES)
    assert (len(model._forward_hooks), len(model._forward_pre_hooks)) == hooks


def test_what_cannot_be_measured_is_said_not_to_be():
    selector, _ = make("auto_assist", epochs=1)
    batch = next(iter(selector.loader()))
    selector.narrow(batch)
    assert "not measured" in str(selector.ledger).split("assistant, in forwards")[1].split("\n")[0]


def test_it_learns_which_samples_are_hard():
    """Samples of the one half have a large loss whatever is trained: they are soon accepted more often."""
    data = Tensors(200)
    data.x = torch.randn(200, 4, generator=generator("hard"))
    hard = data.x[:, 2] > 0
    policy = sw.recipes.auto_assist(base=0.0, lr=1.0)
    selector = sw.Selector(policy, data, lambda b: 1.0 + (b[0][:, 2] > 0).float(), epochs=20, batch_size=50)
    for _ in range(20):
        times = selector.engine.times_selected.clone()
        for batch in selector.loader():
            selector.loss(batch)
    last = selector.engine.times_selected - times
    assert last[hard].float().mean() > 0.8
    assert last[~hard].float().mean() < 0.2


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_resumed_run_is_the_uninterrupted_one(stop):
    def play(until=None, states=None):
        selector, model = make("auto_assist", epochs=2, model=Net(dropout=0.0))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if states is not None:
            for part, state in zip((selector, model, optimizer), states, strict=True):
                part.load_state_dict(state)
        log = []
        while selector.epoch < 2:
            for batch in selector.loader():
                log.append((batch.ids.tolist(), step(selector, optimizer, batch)))
                if len(log) == until:
                    return log, (selector.state_dict(), model.state_dict(), optimizer.state_dict())
        return log, selector.state_dict()["engine"]["method"]["assistant"]["weight"].tolist()

    whole, weights = play()
    log, states = play(stop)
    rest, again = play(states=states)
    assert log + rest == whole
    assert again == weights


INPUTS = {
    "data of mappings": (Dicts(), "batch", 4),
    "a function": (Tensors(), lambda data: data[0].sum(1, keepdim=True), 1),
    "whole numbers": (Tensors(), lambda data: data[1][:, None].repeat(1, 2), 2),
    "bare tensors": (OnlyX(), "batch", 4),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_the_input_is_the_first_tensor_or_what_is_given(kind):
    data, inputs, width = INPUTS[kind]
    selector = sw.Selector(
        sw.recipes.auto_assist(inputs=inputs), data, lambda b: torch.ones(B), epochs=1, batch_size=B
    )
    selector.narrow(next(iter(selector.loader())))
    state = selector.state_dict()["engine"]["method"]["assistant"]
    assert len(state["mean"]) == width
    assert len(state["weight"]) == width + CLASSES


def test_what_is_shared_by_the_batch_is_no_input():
    x = torch.rand(8, 2)
    assert first_tensor({"mask": sw.shared(torch.ones(8, 8)), "x": x}) is x


def narrowed(inputs="batch", collate=None, batches=1):
    """A few batches through `narrow`."""
    selector, _ = make(sw.recipes.auto_assist(inputs=inputs))
    loader = iter(selector.loader() if collate is None else selector.loader(collate_fn=collate))
    for _ in range(batches):
        k = len(selector.narrow(next(loader)).ids)
        selector.reduce(torch.ones(k))


NUMBERS = "must be a tensor of floats or whole numbers, got"
WIDTHS = iter(range(3, 100))
BAD = {
    "no tensor": ("batch", lambda rows: [f"text {y}" for _, y in rows], "found no tensor in the batch"),
    "one row": (
        "batch",
        lambda rows: (torch.zeros(3, 4), torch.zeros(8)),
        "one row for each of the 8 samples",
    ),
    "truth values": (lambda data: data[0] > 0, None, rf"{NUMBERS} torch\.bool"),
    "complex": (lambda data: data[0] * 1j, None, rf"{NUMBERS} torch\.complex64"),
    "no tensor returned": (lambda data: [1.0], None, f"{NUMBERS} list"),
    "not finite": (lambda data: data[0].log(), None, r"is not finite for ids \["),
    "another width": (lambda data: torch.ones(8, next(WIDTHS)), None, "got 4 numbers a sample after 3"),
}


@pytest.mark.parametrize("kind", BAD)
def test_inputs_that_cannot_be_learned_from_are_refused(kind):
    inputs, collate, said = BAD[kind]
    with pytest.raises(ValueError, match=f"auto_assist.*{said}"):
        narrowed(inputs, collate, batches=2)


def test_inputs_that_are_no_function_are_refused_when_built():
    with pytest.raises(ValueError, match=r"auto_assist\.inputs must be 'batch' or a function, got 3"):
        sw.recipes.auto_assist(inputs=3)
    with pytest.raises(ValueError, match=r"auto_assist\.inputs must be one of 'batch', got 'bach'"):
        sw.recipes.auto_assist(inputs="bach")


def test_a_state_of_other_parameters_is_refused():
    selector, _ = make(sw.recipes.auto_assist(base=0.5))
    other, _ = make("auto_assist")
    with pytest.raises(ValueError, match=r"auto_assist\(base=0\.5, lr=0\.01, inputs='batch'\)"):
        other.load_state_dict(selector.state_dict())


def test_the_engine_alone_is_shown_the_data():
    selector = sw.Selector("auto_assist", 10, epochs=1)
    selector.plan(0)
    ids = torch.arange(6)
    with pytest.raises(ValueError, match=r"Call selector\.look\(ids, data\) before"):
        selector.choose(ids)
    selector.look(ids, {"x": torch.randn(6, 3, generator=generator("x"))})
    with pytest.raises(ValueError, match=r"Call selector\.look\(ids, data\) before"):
        selector.choose(ids + 1)
    rows, weights = selector.choose(ids)
    assert weights is None
    selector.observe(ids[rows], torch.ones(len(rows)))
    assert selector.ledger.scoring_forwards == 0
    with pytest.raises(ValueError, match=r"Call selector\.look\(ids, data\) before"):
        selector.observe(ids, torch.ones(6))


def test_a_stream_without_n_is_chosen_from():
    selector = sw.Selector("auto_assist", None, lambda b: b[0][:, 0], epochs=1)
    selector.plan(0)
    for start in range(0, 24, 8):
        ids = torch.arange(start, start + 8)
        loss = selector.loss(sw.Batch(ids, (torch.rand(8, 3, generator=generator(start)),)))
        assert 0 < loss.item() < 1


def test_a_bad_loss_teaches_nothing():
    """As with several processes, where the error comes later."""
    method = sw.recipes.auto_assist()
    method.start(8, 1, 0, None)
    x, ids = torch.randn(8, 3, generator=generator("bad")), torch.arange(8)
    for losses in (torch.arange(8.0), torch.full((8,), torch.nan)):
        method.look(ids, x)
        method.observe(ids, sw.Outputs(losses), "training")
        assert method.average.item() == pytest.approx(3.5)
    assert torch.isfinite(method.assistant.entries["weight"]).all()
