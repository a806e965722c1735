"""What a first-time user ran into, each once: silent mistakes that must speak."""

import time
from typing import Annotated

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import samplewise as sw
from samplewise import pickers, trackers
from samplewise.checks import Range, check_arguments
from tests.seams.toys import plainly

DATA = TensorDataset(torch.arange(12.0)[:, None], torch.arange(12) % 3)


class Slow(TensorDataset):
    """Every sample takes a while to load, and nothing else takes time."""

    def __getitem__(self, index):
        time.sleep(0.002)
        return super().__getitem__(index)


def loss_of(batch):
    return (batch[0].squeeze(1) + 1).requires_grad_()


def train(selector):
    loader = selector.loader()
    for _ in range(selector.epoch, selector.epochs):
        for batch in loader:
            selector.loss(batch).backward()


def test_waiting_for_data_belongs_to_the_ordinary_run_too():
    selector = sw.Selector("full", Slow(*DATA.tensors), loss_of, epochs=4, batch_size=4)
    train(selector)
    assert selector.ledger.baseline == "estimated"
    assert selector.ledger.realised == pytest.approx(0, abs=0.3)


def test_a_loop_that_never_calls_loss_is_told():
    selector = sw.Selector("infobatch", DATA, loss_of, epochs=2, batch_size=4)
    with pytest.warns(UserWarning, match="ended without selector.loss"):
        list(selector.loader())


def test_the_last_epoch_can_be_set_without_having_been_opened():
    selector = sw.Selector("full", DATA, loss_of, epochs=3, batch_size=4)
    selector.set_epoch(3)
    assert (selector.epoch, selector.progress) == (3, 1.0)
    with pytest.raises(ValueError, match="training is over"):
        iter(selector.loader())


def test_epoch_steps_are_only_known_inside_the_training():
    selector = sw.Selector("full", DATA, loss_of, epochs=3, batch_size=4)
    with pytest.raises(ValueError, match=r"epoch must be in \[0, 3\), got 9"):
        selector.epoch_steps(9)


class Own:
    """A method of one's own whose every answer can be set."""

    def __init__(self, level="epoch", planned=None, chosen=None):
        self.level, self.planned, self.chosen = level, planned, chosen

    def observe(self, ids, outputs, source):
        self.seen = len(ids)

    def plan(self, epoch):
        return torch.arange(12) if self.planned is None else self.planned

    def choose(self, ids):
        return (torch.arange(len(ids)), None) if self.chosen is None else self.chosen

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        """Nothing to restore."""


def test_an_own_methods_choice_is_what_trains():
    every_second = (torch.tensor([0, 2]), torch.tensor([2.0, 1.0]))
    model = torch.nn.Linear(1, 1)
    selector = sw.Selector(
        Own("batch", chosen=every_second), DATA, loss_of, model=model, epochs=1, batch_size=4
    )
    batch = next(iter(selector.loader()))
    a, b = (batch.data[0][[0, 2], 0] + 1).tolist()
    assert selector.loss(batch).item() == pytest.approx((2 * a + b) / 2)
    assert selector.ledger.samples_backpropagated == 2
    assert selector.ledger.scoring_forwards == 4


def test_an_own_method_says_when_it_chooses():
    with pytest.raises(ValueError, match="level must be one of"):
        sw.Selector(Own("often"), 12, epochs=1)


@pytest.mark.parametrize(
    "planned",
    [[3, 1], [1, 1], [0, 12], [-1, 2], [], [0.5], torch.ones(12, dtype=torch.bool)],
    ids=["falling", "twice", "beyond", "negative", "empty", "floats", "mask"],
)
def test_an_own_methods_plan_is_checked(planned):
    with pytest.raises(ValueError, match=r"plan must return int64 positions in \[0, 12\)"):
        sw.Selector(Own(planned=planned), 12, epochs=1).plan(0)


@pytest.mark.parametrize(
    ("chosen", "error", "words"),
    [
        ("rows", TypeError, r"choose must return \(rows, weights\)"),
        ((torch.tensor([2, 1]), None), ValueError, "choose must return int64 positions"),
        ((torch.tensor([0, 4]), None), ValueError, r"in \[0, 4\)"),
        ((torch.tensor([0, 1]), torch.tensor([1.0])), ValueError, "choose must return 2 weights"),
        ((torch.tensor([0, 1]), torch.tensor([1.0, 0.0])), ValueError, "finite and > 0"),
    ],
)
def test_an_own_methods_choice_is_checked(chosen, error, words):
    selector = sw.Selector(Own("batch", chosen=chosen), 12, epochs=1)
    selector.plan(0)
    with pytest.raises(error, match=words):
        selector.choose(torch.arange(4))


def margin(logits):
    return logits[:, 0] - logits[:, 1]


def pairs(logits, targets):
    return torch.stack([logits[:, 0], logits[:, 1]])


def policy(signal, picker):
    return sw.Policy(signal=signal, tracker=trackers.Last(), picker=picker, source="training")


@pytest.mark.parametrize(
    ("signal", "picker", "logits", "words"),
    [
        (margin, pickers.TopK(0.5), [[torch.nan, 0.0], [0.0, 1.0]], r"margin is not finite for ids \[0\]"),
        (margin, pickers.Weighted(0.5), [[0.0, 1.0], [1.0, 0.0]], r"proportion to margin.* ids \[0\]"),
        (
            pairs,
            pickers.TopK(0.5),
            [[0.0, 1.0]] * 3,
            "signal pairs must return a value for each of 3 samples",
        ),
    ],
)
def test_own_signals_are_checked_like_losses(signal, picker, logits, words):
    selector = sw.Selector(policy(signal, picker), 12, epochs=2)
    selector.plan(0)
    logits = torch.tensor(logits)
    outputs = sw.Outputs(torch.ones(len(logits)), logits, torch.zeros(len(logits), dtype=torch.int64))
    with pytest.raises(ValueError, match=words):
        selector.observe(torch.arange(len(logits)), outputs)


def takes(epochs: Annotated[int, Range(1)], keep: Annotated[float, Range(0, 1)]):
    """Two numbers in their ranges."""


def test_numbers_of_numpy_are_numbers():
    check_arguments("takes", takes, {"epochs": np.int64(3), "keep": np.float32(0.5)})
    with pytest.raises(ValueError, match=r"takes.keep must be in \[0, 1\], got 2.0"):
        check_arguments("takes", takes, {"keep": np.float32(2)})
    with pytest.raises(ValueError, match=r"takes.epochs must be a whole number"):
        check_arguments("takes", takes, {"epochs": np.float32(3)})


@pytest.mark.parametrize("dataset", [DataLoader(DATA), dict.fromkeys(range(4))], ids=["loader", "dict"])
def test_a_data_set_gives_samples_by_position(dataset):
    with pytest.raises(TypeError, match=r"Pass the Dataset itself"):
        sw.Selector("full", dataset, epochs=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": loss_of}, "model must be a torch.nn.Module, got function"),
        ({"scoring": {"mode": "eval"}}, r"scoring must be a sw.Scoring\(...\), got dict"),
        ({"forward": 3}, "forward must be a function of a batch's data, got int"),
    ],
)
def test_arguments_of_the_wrong_kind(arguments, words):
    # As for a user: the shape checker of the test run would refuse them first.
    build = sw.Selector.__init__
    build = getattr(build, "__wrapped__", build)
    with pytest.raises(TypeError, match=words):
        build(sw.Selector.__new__(sw.Selector), "full", DATA, **{"forward": loss_of, "epochs": 1} | arguments)


def test_targets_are_class_numbers_in_the_right_shape():
    def forward(batch):
        logits = torch.zeros(len(batch[0]), 3)
        return sw.Outputs(loss_of(batch), logits, torch.zeros(len(batch[0]), 3))

    model = torch.nn.Linear(1, 1)
    selector = sw.Selector("kakurenbo", DATA, forward, model=model, epochs=2, batch_size=4)
    with pytest.raises(
        ValueError, match=r"Outputs.targets must be 4 integer class numbers, got .* of shape \(4, 3\)"
    ):
        selector.loss(next(iter(selector.loader())))


def test_the_first_count_of_flops_is_got_ready_when_an_epoch_opens_and_charged_to_nothing():
    said = plainly(
        "import sys, time, torch\n"
        "import samplewise as sw\n"
        "data = torch.utils.data.TensorDataset(torch.randn(64, 4))\n"
        "selector = sw.Selector('auto_assist', data, lambda b: b[0][:, 0] ** 2, epochs=20, batch_size=8)\n"
        "before = 'sympy' in sys.modules\n"
        "begun = time.perf_counter()\n"
        "iter(selector.loader())\n"
        "took = time.perf_counter() - begun\n"
        "print(before, 'sympy' in sys.modules, sum(selector.ledger.seconds.values()) < 0.5 * took)\n"
    )
    assert said.split() == ["False", "True", "True"]
