import math

import pytest
import torch

from samplewise.bench import optim


def test_cosine_falls_from_one_to_zero():
    values = [optim.shape("cosine", p / 20) for p in range(21)]
    assert values == pytest.approx([0.5 * (1 + math.cos(math.pi * p / 20)) for p in range(21)])


def test_onecycle_rises_to_one_and_then_falls_to_zero():
    values = [optim.shape("onecycle", p / 100) for p in range(101)]
    top = round(100 * optim.WARMUP)
    assert values[0] == optim.START
    assert values[top] == pytest.approx(1)
    assert values[-1] == pytest.approx(0)
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_constant_is_one():
    assert {optim.shape("constant", p / 5) for p in range(6)} == {1.0}


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizers_are_what_they_say(name, kind):
    made = optim.optimizer(name, torch.nn.Linear(2, 2), 0.3)
    assert isinstance(made, kind)
    assert made.param_groups[0]["lr"] == 0.3
    assert made.param_groups[0]["weight_decay"] == 5e-4
