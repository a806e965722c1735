"""Cheap scores behind Lightning, Accelerate and the Trainer: as in the plain loop."""

import functools

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from datasets import ClassLabel

import samplewise as sw
from samplewise.integrations.accelerate import prepare
from tests.integrations.lightning_toys import Net, assert_same_run, loop_of, select, trainer_for
from tests.integrations.test_lightning_resume import Saving
from tests.integrations.trainer_runs import (
    SaveAt,
    bert,
    classes,
    collate,
    llama,
    numbers,
    selective,
    sentences,
    several,
    trained_ids,
    weights,
)
from tests.seams import toys

pytestmark = [
    pytest.mark.usefixtures("quick_training"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]


def fewer(batch):
    """Scores see two of the four features."""
    x, y = batch
    return torch.cat([x[:, :2], torch.zeros_like(x[:, 2:])], 1), y


KINDS = {
    "view": {"view": fewer},
    "at": {"at": "body.0"},
    "view, at": {"view": fewer, "at": "body.2"},
    "every, at": {"every": 2, "at": "body.0"},
    "scorer": {},
}
POLICIES = {"batches": sw.recipes.evolved_sampling(), "passes": sw.recipes.ucb(period=2)}


def scored(kind):
    if kind == "scorer":
        small = toys.Net(dropout=0.0)
        sgd = functools.partial(torch.optim.SGD, momentum=0.9)
        return sw.Scoring(scorer=sw.Scorer(small, toys.forward_of(small), every=2, lr=0.05, optimizer=sgd))
    return sw.Scoring(**KINDS[kind])


def told(selector):
    """What scoring cost, and the state of the head."""
    ledger = selector.ledger
    costs = (ledger.scoring_forwards, ledger.cheap_scoring_forwards, ledger.cheap_flops, ledger.cost)
    return repr(costs), repr(selector.state_dict().get("scoring"))


def trained_on(selector):
    """The ids of every batch after narrowing, noted from now on."""
    noted, narrow = [], selector._step.narrow

    def noting(batch):
        kept = narrow(batch)
        noted.append(kept.ids.tolist())
        return kept

    selector._step.narrow = noting
    return noted


def hooks(model):
    return [name for name, module in model.named_modules() if module._forward_hooks]


class Noting(Net):
    """Notes the mode of every module and the hooks on them, in each training step. Its batch norm stays."""

    def __init__(self):
        super().__init__(dropout=0.2)
        self.modes = []

    def training_step(self, batch, batch_idx):
        self.modes.append([module.training for module in self.modules()])
        return super().training_step(batch, batch_idx)

    def on_train_epoch_start(self):
        self.body[1].eval()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_lightning_scores_as_the_plain_loop_does(kind, policy):
    net, plain = Net(dropout=0.2), Net(dropout=0.2)
    selector = select(POLICIES[policy], net, scoring=scored(kind))
    trainer = trainer_for(selector)
    torch.manual_seed(3)
    trainer.fit(net, selector.loader())
    reference = loop_of(select(POLICIES[policy], plain, scoring=scored(kind)), plain)
    assert_same_run(net, selector, plain, reference)
    # Until training_step has called its helper once, the callback looks at a whole batch itself.
    selector.ledger.scoring_forwards -= 8 * (policy == "batches" and kind != "scorer")
    assert told(selector) == told(reference)
    assert selector.ledger.cheap_scoring_forwards > 0
    assert not hooks(net)


def test_lightning_finds_the_modes_that_it_left():
    net = Noting()
    selector = select(POLICIES["batches"], net, scoring=scored("at"))
    trainer_for(selector).fit(net, selector.loader())
    frozen = next(i for i, module in enumerate(net.modules()) if module is net.body[1])
    assert all(modes[frozen] is False and sum(modes) == len(modes) - 1 for modes in net.modes)


@pytest.mark.parametrize("kind", ["view, at", "every, at", "scorer"])
def test_lightning_resumes_the_head_and_the_small_model(kind, tmp_path):
    whole = Net(dropout=0.0)
    selector = select(POLICIES["batches"], whole, scoring=scored(kind))
    saving = Saving(tmp_path, {"step 7"})
    trainer_for(selector, saving).fit(whole, selector.loader())
    ((path, done),) = saving.saved.values()
    net = Net(dropout=0.0)
    again = select(POLICIES["batches"], net, scoring=scored(kind))
    trainer_for(again).fit(net, again.loader(), ckpt_path=path)
    net.trained = whole.trained[:done] + net.trained
    assert_same_run(net, again, whole, selector)
    assert told(again) == told(selector)


def by_accelerate(kind, policy, accelerator, folder=None, stop=None, resume=False):
    """Train, plainly without an accelerator: the ids, the network and the selector."""
    net = toys.Net(dropout=0.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    if accelerator is not None:
        net, optimizer = accelerator.prepare(net, optimizer)
    selector, _ = toys.make(POLICIES[policy], model=net, scoring=scored(kind))
    loader = selector.loader() if accelerator is None else prepare(selector, accelerator)
    if resume:
        accelerator.load_state(folder)
    chosen = trained_on(selector)
    for _ in range(selector.epoch, 4):
        for batch in loader:
            loss = selector.loss(batch)
            loss.backward() if accelerator is None else accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            if len(chosen) == stop:
                accelerator.save_state(folder)
                return chosen, net, selector
    return chosen, net, selector


@pytest.fixture
def accelerators():
    """Makes new accelerators, and forgets them at the end."""
    yield lambda: Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_accelerate_scores_and_resumes_as_the_plain_loop_does(kind, policy, accelerators, tmp_path):
    chosen, net, plain = by_accelerate(kind, policy, None)
    for stop in (None, 7):
        found, there, selector = by_accelerate(kind, policy, accelerators(), tmp_path, stop)
        if stop is not None:
            begun = found
            found, there, selector = by_accelerate(kind, policy, accelerators(), tmp_path, resume=True)
            found = begun + found
        assert found == chosen
        assert torch.equal(weights(there), weights(net))
        assert told(selector) == told(plain)
        assert not hooks(there)


# --------------------------------------------------------------------------------------- Trainer

LAYER = "bert.encoder.layer.0.attention"
SETTINGS = {
    "view": {"view": sw.views.first(4)},
    "at": {"at": LAYER},
    "view, at": {"view": sw.views.first(4), "at": LAYER},
}
ORDERED = sw.recipes.ordered_sgd(keep=0.5)


def by_trainer(folder, settings, policy=ORDERED, **given):
    settings = {"scoring": sw.Scoring(**settings)}
    trainer = selective(folder, policy, settings=settings, **given)
    return trained_ids(trainer), trainer


def by_loop(settings, policy, data, model, forward):
    """The plain loop: what is chosen, and the selector."""
    labels = data["labels"] if isinstance(data["labels"][0], int) else None
    selector = sw.Selector(
        policy, data, forward, model=model, epochs=3, batch_size=4, seed=42, labels=labels,
        scoring=sw.Scoring(**settings),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    chosen = trained_on(selector)
    loader = selector.loader(collate_fn=collate)
    for _ in range(3):
        for batch in loader:
            selector.loss(batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    return chosen, selector


def cross_entropy(model):
    def forward(batch):
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits = model(**inputs).logits
        return torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none")

    return forward


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_trainer_scores_as_the_plain_loop_does(kind, tmp_path):
    chosen, trainer = by_trainer(tmp_path, SETTINGS[kind])
    model = bert()
    wanted, selector = by_loop(SETTINGS[kind], ORDERED, classes(), model, cross_entropy(model))
    assert chosen == wanted
    torch.testing.assert_close(weights(trainer), weights(model), rtol=0, atol=1e-6)
    ledger, other = trainer.selector.ledger, selector.ledger
    assert ledger.cheap_scoring_forwards == other.cheap_scoring_forwards == 3 * 26
    assert (ledger.scoring_forwards, ledger.cheap_flops) == (0, other.cheap_flops)
    assert ledger.cost == pytest.approx(other.cost)
    assert not hooks(trainer.model)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_trainer_resumes_cheap_scores(kind, tmp_path):
    ends = []
    for resume in (None, str(tmp_path / "checkpoint-9")):
        noted, trainer = [], None
        settings = {"scoring": sw.Scoring(**SETTINGS[kind])}
        trainer = selective(
            tmp_path, ORDERED, settings=settings, extra={"callbacks": [SaveAt(9)]}, save_strategy="steps",
            save_steps=1000,
        )  # fmt: skip
        noted = trained_ids(trainer, resume_from_checkpoint=resume)
        ends.append((noted, weights(trainer).tolist(), told(trainer.selector)))
    (whole, *end), (rest, *other) = ends
    assert whole[-len(rest) :] == rest
    assert 0 < len(rest) < len(whole)
    assert end == other


def test_a_trainer_learns_the_same_head_from_labels_of_the_data_set_and_of_the_batches(tmp_path):
    named = classes().cast_column("labels", ClassLabel(names=["a", "b", "c"]))
    (chosen, by_batch), (same, by_column) = (
        by_trainer(tmp_path, SETTINGS["at"], data=data) for data in (classes(), named)
    )
    assert by_batch.selector.labels is None
    assert by_column.selector.labels is not None
    assert chosen == same
    assert told(by_batch.selector) == told(by_column.selector)


@pytest.mark.parametrize("kind", ["regression", "several numbers", "language"])
def test_a_trainer_gives_the_head_numbers_and_tokens(kind, tmp_path):
    model, data, at, outputs = {
        "regression": (functools.partial(bert, 1), numbers, LAYER, 1),
        "several numbers": (functools.partial(bert, 3, problem_type="regression"), several, LAYER, 3),
        "language": (llama, sentences, "model.layers.0", 30),
    }[kind]
    _, trainer = by_trainer(tmp_path, {"at": at}, model=model(), data=data())
    head = trainer.selector.state_dict()["scoring"]["head"]
    assert head["weight"].shape == (outputs, 8)
    assert head["steps"] > 0
    assert trainer.selector.ledger.cheap_scoring_forwards == 3 * 26
    rows = [data()[i] for i in range(26)]
    if kind == "language":
        batch = collate(rows)
        targets = trainer.selection.head.targets(batch)
        for i, row in enumerate(rows):
            assert targets[i, : len(row["labels"]) - 1].tolist() == row["labels"][1:]
            assert set(targets[i, len(row["labels"]) - 1 :].tolist()) == {-100}


def test_a_head_is_refused_where_a_row_has_several_classes(tmp_path):
    with pytest.raises(ValueError, match=r"Scoring.at cannot be used where a row has several classes"):
        by_trainer(tmp_path, SETTINGS["at"], data=several())


def test_a_head_is_refused_for_losses_of_ones_own(tmp_path):
    settings = {
        "scoring": sw.Scoring(at=LAYER),
        "per_sample_loss": lambda raw, inputs: raw.logits.square().mean(1),
    }
    with pytest.raises(ValueError, match="labels is None and forward has no `targets`"):
        selective(tmp_path, ORDERED, settings=settings)
