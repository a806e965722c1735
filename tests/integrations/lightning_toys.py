"""A LightningModule over the toy data that notes which ids it trains on, with and without a Trainer."""

import logging

import lightning
import pytorch_lightning
import torch
from torch import nn
from torch.nn import functional as F

import samplewise as sw
from samplewise.integrations.lightning import SelectionCallback, weighted_mean
from samplewise.pickers import Uniform
from samplewise.schedules import Linear
from tests.seams.toys import CLASSES, N, Tensors

BATCH = 8
RECIPES = {
    "full": sw.recipes.full(),
    "infobatch": sw.recipes.infobatch(),
    "random_dynamic": sw.recipes.random_dynamic(period=1),
    "ucb": sw.recipes.ucb(period=2),
    "kakurenbo": sw.recipes.kakurenbo(),
    "loss_sampling": sw.recipes.loss_sampling(),
    "ordered_sgd": sw.recipes.ordered_sgd(),
    "evolved_sampling": sw.recipes.evolved_sampling(),
    "eswp": sw.recipes.eswp(),
    "el2n": sw.recipes.el2n(first=2),
    "fixed": sw.recipes.fixed(sw.Subset(torch.arange(0, N, 2), torch.linspace(0.5, 1.5, N // 2), {"n": N})),
}
GROWS = sw.Policy(picker=Uniform(Linear(0.2, 1.0)))

for name in ("lightning.pytorch", "pytorch_lightning", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)


class Steps:
    """Everything but the base class: batch norm, dropout, per-sample losses. `helped`: uses the helper."""

    def __init__(self, dropout=0.3, helped=True):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout))
        self.fc = nn.Linear(8, CLASSES)
        self.helped = helped
        self.trained, self.validated = [], []

    def forward(self, x):
        return self.fc(self.body(x))

    def outputs(self, batch):
        """A Selector's forward, which notes the ids it trains on."""
        x, y = batch
        if torch.is_grad_enabled():
            self.trained.append(x[:, 0].long().tolist())
        logits = self(x)
        return sw.Outputs(F.cross_entropy(logits, y, reduction="none"), logits, y)

    def training_step(self, batch, batch_idx):
        outputs = self.outputs(batch)
        return weighted_mean(self, outputs) if self.helped else outputs.loss.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Net(Steps, lightning.LightningModule):
    """For `lightning`."""


class Validating(Net):
    """Also validates, with the helper in a step that training shares."""

    def validation_step(self, batch, batch_idx):
        self.validated.append(self.trainer.current_epoch)
        return weighted_mean(self, self.outputs(batch))


class OldNet(Steps, pytorch_lightning.LightningModule):
    """For `pytorch_lightning`."""


def select(policy, net, epochs=4, dataset=None, **named):
    dataset = Tensors() if dataset is None else dataset
    return sw.Selector(policy, dataset, net.outputs, model=net, epochs=epochs, batch_size=BATCH, **named)


def trainer_for(selector, *callbacks, package=lightning, **settings):
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    settings = {"max_epochs": selector.epochs, "accelerator": "cpu", "devices": 1, **quiet, **settings}
    return package.Trainer(callbacks=[*callbacks, SelectionCallback(selector)], **settings)


def fit(
    policy, net, *callbacks, epochs=4, workers=0, ckpt=None, validation=None, package=lightning, **settings
):
    """A training by the Trainer; returns the Selector."""
    selector = select(policy, net, epochs)
    trainer = trainer_for(selector, *callbacks, package=package, **settings)
    torch.manual_seed(3)
    trainer.fit(net, selector.loader(num_workers=workers), validation, ckpt_path=ckpt)
    return selector


def loop(policy, net, epochs=4, accumulate=1):
    """The plain loop: the reference. Steps on the last batch of an epoch too, as Lightning does."""
    return loop_of(select(policy, net, epochs), net, accumulate)


def loop_of(selector, net, accumulate=1):
    """The plain loop with this Selector."""
    optimizer = net.configure_optimizers()
    torch.manual_seed(3)
    loader = selector.loader()
    for epoch in range(selector.epochs):
        for step, batch in enumerate(loader, 1):
            (selector.loss(batch) / accumulate).backward()
            if step % accumulate == 0 or step == selector.epoch_steps(epoch):
                optimizer.step()
                optimizer.zero_grad()
    return selector


def same_weights(one, other):
    there = other.state_dict()
    return all(torch.equal(tensor, there[name]) for name, tensor in one.state_dict().items())


def columns(selector):
    table = selector.table()
    return {name: column.tolist() for name, column in table.columns.items()}, table.times_selected.tolist()


def assert_same_run(net, selector, other, reference):
    assert net.trained == other.trained
    assert same_weights(net, other)
    assert repr(columns(selector)) == repr(columns(reference))
    assert selector.epoch == reference.epoch
