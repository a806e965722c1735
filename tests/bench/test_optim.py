import math

import pytest
import torch

from samplewise.bench import optim
from samplewise.bench.optim import LrShape


def test_cosine_falls_from_one_to_zero():
    values = [LrShape("cosine").at(p / 20) for p in range(21)]
    assert values == pytest.approx([0.5 * (1 + math.cos(math.pi * p / 20)) for p in range(21)])


def test_onecycle_rises_to_one_and_then_falls_to_zero():
    values = [LrShape("onecycle").at(p / 100) for p in range(101)]
    top = round(100 * optim.WARMUPS["onecycle"])
    assert values[0] == optim.START
    assert values[top] == pytest.approx(1)
    assert values[-1] == pytest.approx(0)
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_constant_is_one():
    assert {LrShape("constant").at(p / 5) for p in range(6)} == {1.0}


def test_step_multiplies_at_each_milestone_of_whole_epochs():
    """As MultiStepLR with milestones 60, 120, 160 of 200 epochs and gamma 0.2."""
    shape = LrShape("step", milestones=(0.3, 0.6, 0.8), factor=0.2)
    weight = torch.nn.Parameter(torch.zeros(1))
    sgd = torch.optim.SGD([weight], lr=1.0)
    steps = torch.optim.lr_scheduler.MultiStepLR(sgd, [60, 120, 160], gamma=0.2)
    for epoch in range(200):
        assert shape.at(epoch / 200) == pytest.approx(sgd.param_groups[0]["lr"]), epoch
        sgd.step()
        steps.step()


def test_polynomial_rises_in_a_line_and_falls_by_its_power():
    values = [LrShape("polynomial", warmup=0.2, power=2.0).at(p / 10) for p in range(11)]
    assert values == pytest.approx([0, 0.5, *(((10 - p) / 8) ** 2 for p in range(2, 11))])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_torchs_onecycle_is_torchs(name):
    """Rate and momentum; torch's phases end one step early, so many steps are compared."""
    steps, model = 20_000, torch.nn.Linear(2, 2)
    theirs, ours = (optim.optimizer(name, model, 0.3) for _ in range(2))
    onecycle = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.3, total_steps=steps)
    for step in range(steps - 1):
        if step % 500 == 0:
            LrShape("torch_onecycle").set(ours, 0.3, step / (steps - 1))
            (mine,), (torchs,) = ours.param_groups, theirs.param_groups
            assert mine["lr"] == pytest.approx(torchs["lr"], abs=1e-4)
            key = "momentum" if name == "sgd" else "betas"
            assert mine[key] == pytest.approx(torchs[key], abs=1e-4)
        theirs.step()
        onecycle.step()


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizers_are_what_they_say(name, kind):
    made = optim.optimizer(name, torch.nn.Linear(2, 2), 0.3, weight_decay=0.01, momentum=0.8)
    assert isinstance(made, kind)
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.01)
    assert (group["momentum"] if name == "sgd" else group["betas"][0]) == 0.8


def test_without_momentum_there_is_no_nesterov():
    assert not optim.optimizer("sgd", torch.nn.Linear(2, 2), 0.3, momentum=0.0).param_groups[0]["nesterov"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"milestones": (0.5, 0.5)}, r"milestone must ascend in \(0, 1\), as shares of the run, got 0.5 0.5"),
        ({"milestones": (30.0,)}, "got 30"),
        ({"schedule": "cosine", "warmup": 0.1}, "warmup needs one of the schedules onecycle, polynomial"),
        ({"factor": 0.0}, r"factor must be in \(0, 1\], got 0"),
        ({"power": 0.0}, "power must be > 0, got 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        LrShape(**given)
