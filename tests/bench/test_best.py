"""The validation split, and the weights of the epoch that it chooses."""

import math

import pytest
import torch
from torch import nn

from samplewise.bench import data
from samplewise.bench.best import BestEpoch

DIGITS = data.load("digits")


def test_every_class_gives_the_same_share_to_the_validation_split() -> None:
    """The parts are disjoint, cover the training split, and moments are those of what trains."""
    parts = data.held_out(DIGITS, 0.2)
    x, y = parts.split("validation")
    for c in range(10):
        whole = int((DIGITS.train_y == c).sum())
        assert int((y == c).sum()) == round(0.2 * whole)
    rows = {tuple(row.flatten().tolist()) for row in parts.train_x}
    assert len(parts) + len(y) == len(DIGITS)
    assert sum(tuple(row.flatten().tolist()) in rows for row in x) <= 5  # digits hold a few doubles
    assert parts.mean.item() == pytest.approx(float(parts.train_x.double().mean()), rel=1e-5)
    assert torch.equal(data.held_out(DIGITS, 0.2).train_x, parts.train_x)


def test_a_validation_split_of_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one sample, got 0\.0001"):
        data.held_out(DIGITS, 0.0001)


def test_a_class_of_one_image_stays_in_training() -> None:
    few = data.replace(DIGITS, train_x=DIGITS.train_x[:12], train_y=torch.tensor([0] * 11 + [1]), classes=2)
    parts = data.held_out(few, 0.5)
    assert parts.train_y.unique().tolist() == [0, 1]


@pytest.mark.parametrize(("by", "chosen"), [("accuracy", 2), ("loss", 3)])
def test_the_first_best_epoch_keeps_its_weights(by: str, chosen: int) -> None:
    """Equal results later do not replace it; NaN never wins, and never stays."""
    model, best = nn.Linear(1, 1), BestEpoch(by)
    found = [(1, 50.0, math.nan), (2, 60.0, 0.9), (3, 60.0, 0.5), (4, 60.0, 0.5), (5, 10.0, math.nan)]
    for epoch, accuracy, loss in found:
        nn.init.constant_(model.weight, epoch)
        best.offer(epoch, {"accuracy": accuracy, "loss": loss}, model)
    assert best.epoch == chosen
    assert best.weights["weight"].item() == chosen


def test_weights_of_another_model_are_refused() -> None:
    best = BestEpoch("accuracy")
    best.offer(1, {"accuracy": 1.0}, nn.Linear(2, 1))
    with pytest.raises(ValueError, match="must be those of this model"):
        BestEpoch("accuracy").load_state_dict(best.state_dict(), nn.Linear(3, 1))
