"""`sw.advise` leaves all that is the user's as found, also when it fails."""

import copy
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import samplewise as sw
from samplewise.advice.untouched import spare_optimizer, untouched


class Odd(nn.Module):
    """Batch norm, dropout, a frozen norm, a buffer written in place and one that is replaced."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.frozen, self.last = nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.register_buffer("written", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(1))
        self.fails_after = None

    def forward(self, x):
        self.written += 1
        self.replaced = self.replaced + 1
        if self.fails_after is not None and self.written > self.fails_after:
            raise ArithmeticError("the user's model fails")
        x = x + random.random() + float(np.random.rand()) * 0  # noqa: NPY002 - a model that draws
        return self.last(self.frozen(self.drop(F.relu(self.norm(self.first(x))))))


class Mine:
    """What a user has in the middle of a training."""

    def __init__(self):
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(0)
        self.model = Odd().train()
        self.model.frozen.eval()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1, weight_decay=0.1)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1)
        data = TensorDataset(torch.randn(64, 4), torch.randint(3, (64,)))
        self.loader = DataLoader(
            data, 8, shuffle=True, generator=torch.Generator().manual_seed(3), drop_last=True
        )
        for _, batch in zip(range(3), self.loader, strict=False):
            self.optimizer.zero_grad()
            self.forward(batch).mean().backward()
            self.optimizer.step()
        self.scheduler.step()
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        self.at = iter(self.loader)
        next(self.at)

    def forward(self, batch):
        x, y = batch
        return F.cross_entropy(self.model(x), y, reduction="none")

    def advise(self, **given):
        given = {
            "optimizer": self.optimizer,
            "methods": ["loss_sampling"],
            "seconds": 0.1,
            "epochs": 3,
        } | given
        return sw.advise(self.forward, self.model, self.loader, **given)

    def state(self):
        """Everything, as copies."""
        parts = list(self.model.named_parameters())
        return copy.deepcopy(
            {
                "weights": self.model.state_dict(),
                "gradients": {name: part.grad for name, part in parts},
                "modes": [module.training for module in self.model.modules()],
                "trains": [part.requires_grad for _, part in parts],
                "optimizer": self.optimizer.state_dict(),
                "scheduler": {k: v for k, v in self.scheduler.state_dict().items() if k[0] != "_"},
                "torch": torch.get_rng_state(),
                "numpy": np.random.get_state()[1:3],  # noqa: NPY002
                "python": random.getstate(),
                "loader": self.loader.generator.get_state(),
                "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.model.modules()],
            }
        )

    def objects(self):
        """What is there, by identity."""
        found = [*self.model.parameters(), *self.model.buffers()]
        found += [part.grad for part in self.model.parameters()]
        found += [self.optimizer.state, *self.optimizer.param_groups, *self.optimizer.state.values()]
        return found + [value for state in self.optimizer.state.values() for value in state.values()]


def same(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0)


PARTS = ("weights", "gradients", "modes", "trains", "optimizer", "scheduler", "torch", "loader", "hooks")


@pytest.fixture(scope="module")
def advised():
    mine = Mine()
    before, things = mine.state(), mine.objects()
    found = mine.advise()
    return mine, before, things, found, mine.state()


@pytest.mark.parametrize("part", PARTS)
def test_it_is_as_found(advised, part):
    _, before, _, _, after = advised
    same(after[part], before[part])


def test_it_leaves_the_very_objects(advised):
    mine, _, things, *_ = advised
    assert [id(thing) for thing in mine.objects()] == [id(thing) for thing in things]


def test_the_loader_goes_on_where_it_was(advised):
    mine, *_ = advised
    reference = Mine()
    same(list(mine.at), list(reference.at))


def test_it_did_train(advised):
    """The state was really used: the model ran, and its early exit and its head too."""
    found = advised[3]
    assert found.step["backward"] > 0
    assert {row.scoring for row in found.rows} >= {"full", "bf16", "every=2"}
    assert any(row.scoring.startswith("at=") for row in found.rows) == ("scoring at" not in found.left_out)


def test_an_error_of_the_model_leaves_all_as_found_too():
    mine = Mine()
    mine.model.fails_after = float(mine.model.written) + 20
    before, things = mine.state(), mine.objects()
    with pytest.raises(ArithmeticError):
        mine.advise()
    now = mine.state()
    for part in PARTS:
        same(now[part], before[part])
    assert [id(thing) for thing in mine.objects()] == [id(thing) for thing in things]


def train_and_compare():
    """All random states are as found, and a training goes on as without advice."""

    def trained(advised):
        mine = Mine()
        if advised:
            before = mine.state()
            mine.advise()
            after = mine.state()
            assert after["python"] == before["python"]
            assert np.array_equal(after["numpy"][0], before["numpy"][0])
            assert after["numpy"][1] == before["numpy"][1]
        for batch in mine.at:
            mine.optimizer.zero_grad()
            mine.forward(batch).mean().backward()
            mine.optimizer.step()
        return mine.model.state_dict()

    same(trained(True), trained(False))


def test_a_training_goes_on_as_without():
    """In a process of its own: the type checks of these tests draw random numbers themselves."""
    code = "from tests.advice.test_untouched import train_and_compare; train_and_compare(); print('as found')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout.strip() == "as found"


def test_a_model_in_eval_mode_trains_meanwhile():
    model, seen = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval(), []
    with untouched(model):
        seen += [module.training for module in model.modules()]
    assert seen == [True] * 3
    assert not any(module.training for module in model.modules())


def test_a_spare_optimizer_steps_in_place_of_the_given_one():
    layer = nn.Linear(2, 2)
    given = torch.optim.Adam(layer.parameters(), lr=torch.tensor(0.5))
    spare, before = spare_optimizer(given), copy.deepcopy(layer.state_dict())
    layer(torch.ones(1, 2)).sum().backward()
    spare.step()
    same(layer.state_dict(), before)
    assert spare.state
    assert not given.state
    assert given.param_groups[0]["lr"] == 0.5
