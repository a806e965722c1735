"""`Scoring(at=...)` for a regression, for the tokens of texts, and for classes that the batch holds."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import samplewise as sw
from samplewise.loop import head_targets
from samplewise.loop.head import BETAS, EPSILON, RATE, Head
from tests.ranks import on_ranks

N, B, EPOCHS, WIDE, WORDS, LENGTH = 48, 8, 6, 12, 7, 5
KINDS = ("numbers", "several numbers", "tokens", "classes")


def data(kind):
    """Inputs and targets: linear in the inputs, far from 0 and with a scale of their own; or words."""
    rng = torch.Generator().manual_seed(1)
    if kind == "tokens":
        words = torch.randint(WORDS, (N, LENGTH), generator=rng)
        targets = (words + 1) % WORDS
        targets[torch.rand(N, LENGTH, generator=rng) < 0.2] = -100
        targets[3] = -100  # a text without any
        return words, targets
    x = torch.randn(N, 6, generator=rng)
    if kind == "classes":
        return x, (x @ torch.randn(6, 3, generator=rng)).argmax(1)
    y = 200 + 40 * (x @ torch.randn(6, 2, generator=rng)) + torch.tensor([0.0, 900.0])
    return x, y if kind == "several numbers" else y[:, 0]


class Net(nn.Module):
    """A hidden layer and a linear one, without anything between."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        outputs = {"numbers": 1, "several numbers": 2, "tokens": WORDS, "classes": 3}[kind]
        first = nn.Embedding(WORDS, 6) if kind == "tokens" else nn.Identity()
        self.first, self.hidden, self.last = first, nn.Linear(6, WIDE), nn.Linear(WIDE, outputs)

    def forward(self, x):
        return self.last(self.hidden(self.first(x)))


def forward_of(model, kind, targets=True):
    def forward(batch):
        x, y = batch
        out = model(x)
        if kind == "tokens":
            terms = F.cross_entropy(out.transpose(1, 2), y, reduction="none")
            return terms.sum(1) / (y != -100).sum(1).clamp(min=1)
        if kind == "classes":
            return F.cross_entropy(out, y, reduction="none")
        return (out.view(len(out), -1) - y.view(len(y), -1)).square().mean(1)

    if targets:
        forward.targets = lambda batch: batch[1]
        forward.classes = {"tokens": WORDS, "classes": 3}.get(kind)
    return forward


def build(kind, policy=None, **more):
    x, y = data(kind)
    model = Net(kind)
    rows = list(zip(x, y, strict=True))  # a list, so the Selector finds no labels
    selector = sw.Selector(
        policy or sw.recipes.ordered_sgd(keep=0.5), rows, forward_of(model, kind), model=model,
        epochs=EPOCHS, batch_size=B, scoring=sw.Scoring(at="hidden"), **more,
    )  # fmt: skip
    return selector, model, torch.optim.SGD(model.parameters(), lr=0.0)


def train(selector, optimizer, stop=None, each=None):
    done = 0
    for _ in range(selector.epoch, EPOCHS):
        for batch in selector.loader():
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
            done += 1
            if each is not None:
                each(batch)
            if done == stop:
                return


def head_of(selector):
    return selector.state_dict()["scoring"]["head"]


def scored(selector, model, rows):
    """What a scoring forward gives for all of some rows."""
    return selector._step.scoring_forward.run(selector.forward, sw.Batch(torch.arange(len(rows[0])), rows))


def trained_rows(selector):
    """The rows of every batch after narrowing, noted from now on."""
    noted, narrow = [], selector._step.narrow
    selector._step.narrow = lambda batch: noted.append(narrow(batch)) or noted[-1]
    return noted


def scaled(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


def features_of(model, x):
    """What the head gets, by hand."""
    with torch.no_grad():
        return scaled(model.hidden(model.first(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_is_that_of_torchs_adam_on_the_same_loss(kind):
    selector, model, optimizer = build(kind)
    noted = trained_rows(selector)
    train(selector, optimizer, stop=6)
    outputs = model.last.out_features
    start = Head(outputs, seed=0)
    start(torch.zeros(1, WIDE))
    layer = nn.Linear(WIDE, outputs)
    with torch.no_grad():
        for own, given in zip((layer.weight, layer.bias), start.layer, strict=True):
            own.copy_(given)
    adam = torch.optim.Adam(layer.parameters(), lr=RATE, betas=BETAS, eps=EPSILON)
    shift = scale = None
    for batch in noted[1:]:
        x, y = batch.data
        adam.zero_grad()
        out = layer(features_of(model, x))
        if kind == "tokens":
            loss = F.cross_entropy(out.flatten(0, 1), y.flatten())
        elif kind == "classes":
            loss = F.cross_entropy(out, y)
        else:
            y = y.view(len(y), -1)
            if shift is None:
                shift, scale = y.mean(0), y.std(0, unbiased=False)
            loss = F.mse_loss(out, (y - shift) / scale)
        loss.backward()
        adam.step()
    head = head_of(selector)
    assert head["steps"] == 5
    torch.testing.assert_close(head["weight"], layer.weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head["bias"], layer.bias.detach(), rtol=1e-4, atol=1e-5)
    if shift is None:
        assert head["shift"] is head["scale"] is None
    else:
        torch.testing.assert_close(head["shift"], shift)
        torch.testing.assert_close(head["scale"], scale)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_losses_of_the_head_in_the_units_of_the_targets(kind):
    selector, model, optimizer = build(kind)
    train(selector, optimizer, stop=7)
    x, y = data(kind)
    head, features = head_of(selector), features_of(model, x)
    out = features @ head["weight"].T + head["bias"]
    if kind == "tokens":
        logs = out.log_softmax(2)
        wanted = [
            sum(-logs[i, t, y[i, t]] for t in range(LENGTH) if y[i, t] >= 0) / max(1, int((y[i] >= 0).sum()))
            for i in range(N)
        ]
        assert wanted[3] == 0
    elif kind == "classes":
        wanted = [-out[i].log_softmax(0)[y[i]] for i in range(N)]
    else:
        errors = out * head["scale"] + head["shift"] - y.view(N, -1)
        wanted = [sum(e * e for e in row) / len(row) for row in errors]
    found = scored(selector, model, (x, y))
    torch.testing.assert_close(found.loss.tolist(), [float(one) for one in wanted], rtol=1e-4, atol=1e-4)
    assert (found.logits is None) == ("numbers" in kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_on_the_last_hidden_layer_learns_the_task_of_the_model(kind):
    selector, model, optimizer = build(kind)
    x, y = data(kind)
    with torch.no_grad():
        model.hidden.weight.normal_(generator=torch.Generator().manual_seed(2))
    means, early = [], selector._step.scoring_forward
    train(selector, optimizer, stop=2)
    for _ in range(300):
        early.trains(sw.Batch(torch.arange(N), (x, y)), None)
        selector.forward((x, y))
        means.append(float(scored(selector, model, (x, y)).loss.mean()))
    assert means[-1] < 0.2 * means[0]
    if "numbers" in kind:  # a constant prediction has the variance as its loss
        assert means[-1] < 0.2 * float(y.var(0).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_the_cost_is_the_flops_counted_by_hand(kind):
    selector, model, optimizer = build(kind)
    noted = trained_rows(selector)
    train(selector, optimizer)
    each = LENGTH if kind == "tokens" else 1  # what the layers see of a row
    outputs = model.last.out_features
    hidden, last = 2 * 6 * WIDE, 2 * WIDE * outputs
    learned = [
        int((batch.data[1] != -100).sum()) if kind == "tokens" else len(batch.ids) for batch in noted[1:]
    ]
    ledger = selector.ledger
    assert (ledger.scoring_forwards, ledger.cheap_scoring_forwards) == (0, N * EPOCHS)
    assert ledger.cheap_flops == N * EPOCHS * each * (hidden + last) + 2 * last * sum(learned)
    assert ledger.cost == pytest.approx(
        3 * ledger.samples_backpropagated + ledger.cheap_flops / (each * (hidden + last)), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["several numbers", "tokens"])
@pytest.mark.parametrize("stop", [1, 8])
def test_resume_changes_nothing(kind, stop, tmp_path):
    whole, _, optimizer = build(kind)
    noted = trained_rows(whole)
    train(whole, optimizer)
    first, _, optimizer = build(kind)
    train(first, optimizer, stop=stop)
    sw.save(tmp_path / "c.pt", first.state_dict())
    again, _, optimizer = build(kind)
    again.load_state_dict(sw.load(tmp_path / "c.pt"))
    rest = trained_rows(again)
    train(again, optimizer)
    assert [batch.ids.tolist() for batch in rest] == [batch.ids.tolist() for batch in noted[stop:]]
    for name, value in head_of(whole).items():
        same = head_of(again)[name]
        assert torch.equal(value, same) if isinstance(value, torch.Tensor) else value == same, name


def test_labels_of_the_batch_do_as_those_of_the_selector():
    given, other = build("classes"), build("classes", labels=data("classes")[1])
    for selector, _, optimizer in (given, other):
        train(selector, optimizer)
    for name, value in head_of(given[0]).items():
        assert value is None or torch.equal(torch.as_tensor(value), torch.as_tensor(head_of(other[0])[name]))


def test_a_view_cuts_the_tokens_of_the_targets_too():
    x, y = data("tokens")
    model, rows = Net("tokens"), [{"input_ids": a, "labels": b} for a, b in zip(x, y, strict=True)]
    inner = forward_of(model, "tokens")

    def forward(batch):
        return inner((batch["input_ids"], batch["labels"]))

    forward.targets, forward.classes = lambda batch: batch["labels"], WORDS
    scoring = sw.Scoring(at="hidden", view=sw.views.first(2))
    selector = sw.Selector(
        sw.recipes.ordered_sgd(keep=0.5), rows, forward, model=model, epochs=1, batch_size=B, scoring=scoring
    )
    for batch in selector.loader():
        selector.loss(batch).backward()
    cost = N * 2 * 2 * WIDE * (6 + WORDS)
    assert selector.ledger.cheap_flops > cost
    learned = selector.ledger.cheap_flops - cost
    assert learned % (4 * WIDE * WORDS) == 0


def test_equal_targets_have_a_scale_of_one():
    head = Head(None, seed=0)
    head.learn(torch.randn(4, 3), torch.full((4, 1), 7.0))
    assert (head.state_dict()["shift"], head.state_dict()["scale"]) == (7, 1)


def refused(targets, classes=None, kind="classes"):
    model = Net(kind)
    forward = forward_of(model, kind, targets=False)
    forward.targets = targets
    if classes is not None:
        forward.classes = classes
    rows = list(zip(*data(kind), strict=True))
    selector = sw.Selector(
        "ordered_sgd", rows, forward, model=model, epochs=2, batch_size=B, scoring=sw.Scoring(at="hidden")
    )
    train(selector, torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: refused(None), r"labels is None and forward has no `targets`.*set forward.targets"),
        (lambda: refused(lambda batch: batch[1]), "forward.classes must be the number of classes.*has none"),
        (lambda: refused(lambda batch: batch[1], 2), r"must be in \[0, 2\), .* got 0 to 2"),
        (lambda: refused(lambda batch: batch[1][:3], 3), r"each of 8 rows.* got shape \(3,\)"),
        (lambda: refused(lambda batch: batch[1][:, None, None], 3), r"got shape \(8, 1, 1\)"),
        (lambda: refused(lambda batch: None, 3), "each of 8 rows.* got NoneType"),
        (
            lambda: refused(lambda batch: batch[1][:, :2], WORDS, "tokens"),
            r"'hidden' must return numbers for each of \(8, 2\) rows and tokens .* of shape \(8, 5, 12\)",
        ),
    ],
)
def test_targets_that_a_head_cannot_learn_are_errors(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        (
            "numbers",
            "uds",
            "'hidden' cannot be used with uds, which needs logits: a head on numbers or tokens",
        ),
        ("tokens", "kakurenbo", "cannot be used with kakurenbo, which needs targets: a head"),
    ],
)
def test_a_method_says_what_a_head_on_numbers_or_tokens_lacks(kind, name, says):
    selector, model, _ = build(kind, name)
    with pytest.raises(ValueError, match=says):
        scored(selector, model, data(kind))


def test_a_data_set_of_numbers_needs_no_labels():
    x, y = data("numbers")
    model = Net("numbers")
    selector = sw.Selector(
        "ordered_sgd", TensorDataset(x, y), forward_of(model, "numbers"), model=model, epochs=EPOCHS,
        batch_size=B, scoring=sw.Scoring(at="hidden"),
    )  # fmt: skip
    assert selector.labels is None
    train(selector, torch.optim.SGD(model.parameters(), lr=1e-6))
    assert head_of(copy.deepcopy(selector.state_dict()) and selector)["scale"].shape == (1,)


def ranked(rank, world):
    found = {}
    for kind in ("several numbers", "tokens"):
        selector, _, optimizer = build(kind)
        train(selector, optimizer)
        found[kind] = head_of(selector)
    return found


def test_all_ranks_have_the_same_head(tmp_path):
    (ranks,) = on_ranks(ranked, (2,), tmp_path).values()
    for kind, mine in ranks[0].items():
        assert mine["steps"] > 0
        for name, value in mine.items():
            assert value is None or torch.equal(torch.as_tensor(value), torch.as_tensor(ranks[1][kind][name]))


def test_rows_that_are_left_out_have_no_loss_and_teach_nothing():
    x, y = torch.randn(6, 4), torch.tensor([0, -100, 2, 1, -100, 0])
    features, targets = head_targets.learned(x, y, None, "here", 5)
    assert targets.tolist() == [0, 2, 1]
    torch.testing.assert_close(features, scaled(x)[[0, 2, 3]])
    losses = head_targets.scored(Head(3, seed=0), x, y, None, "here").loss
    assert [round(loss, 6) == 0 for loss in losses.tolist()] == [False, True, False, False, True, False]
