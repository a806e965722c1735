"""Small data sets, models and a training loop. Every sample carries its own id, so that a mix-up shows."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import samplewise as sw
from samplewise.rng import generator
from samplewise.testing import build, by_tokens
from samplewise.testing.counting import with_target

N, CLASSES = 40, 3


class Tensors(Dataset):
    """(x, y) where x[0] is the id."""

    def __init__(self, n=N):
        self.n = n
        self.x = torch.randn(n, 4, generator=generator("toy x"))
        self.x[:, 0] = torch.arange(n)
        self.targets = torch.arange(n) % CLASSES

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.x[i], self.targets[i]


class Dicts(Tensors):
    """{"x": ..., "meta": {"y": ..., "name": ...}}."""

    def __getitem__(self, i):
        return {"x": self.x[i], "meta": {"y": self.targets[i], "name": f"sample {i}"}}


class OnlyX(Tensors):
    """A bare tensor a sample."""

    def __getitem__(self, i):
        return self.x[i]


class Fetching(Tensors):
    """Hands out a whole batch in one call, and no single sample."""

    def __getitem__(self, i):
        raise AssertionError("__getitems__ is there to be used")

    def __getitems__(self, ids):
        return [(self.x[i], self.targets[i]) for i in ids]


class Random(Tensors):
    """A transform that draws from all three global random states, as augmentations do."""

    def __getitem__(self, i):
        noise = torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002
        return self.x[i] + 1e-3 * noise, self.targets[i]


class Net(nn.Module):
    """Batch norm and dropout; counts the rows it forwards and remembers in which mode."""

    def __init__(self, dropout=0.3):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout))
        self.fc = nn.Linear(8, CLASSES)
        self.calls, self.narrow_calls = [], []

    def forward(self, x):
        self.calls.append((len(x), self.training, torch.is_grad_enabled()))
        return self.fc(self.body(x / N))

    def narrow(self, x):
        """A cheaper part, which stands for a proxy."""
        self.narrow_calls.append((len(x), self.training, torch.is_grad_enabled()))
        return F.linear(x / N, self.body[0].weight[:CLASSES], self.fc.bias)


class Plain(nn.Module):
    """A model without batch norm and dropout."""

    scale = N

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.fc = nn.Linear(4, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.fc(torch.relu(self.body(x / self.scale)))


def forward_of(model):
    """Per-sample cross-entropy of an (x, y) batch."""

    def forward(batch):
        x, y = batch
        return F.cross_entropy(model(x), y, reduction="none")

    return forward


def outputs_of(model):
    """As `forward_of`, with logits, targets, features and a head that fits them, and a proxy."""
    head = torch.randn(CLASSES, 4, generator=generator("toy head"))

    def outputs(net, batch):
        x, y = batch
        logits = net(x)
        loss = F.cross_entropy(logits, y, reduction="none")
        return sw.Outputs(loss, logits, y, features=x, head=(head.to(x.device), None))

    def forward(batch):
        return outputs(model, batch)

    if hasattr(model, "narrow"):
        forward.proxy = lambda batch: outputs(model.narrow, batch)
    return forward


def tokens_of(forward):
    """A forward whose outputs also have a loss for every token."""
    return lambda batch: by_tokens(forward(batch), batch[0][:, 0].long())


def make(policy, dataset=None, *, epochs=4, batch_size=8, model=None, forward=None, period=None, **more):
    """A selector over a toy data set, and its model."""
    dataset = Tensors() if dataset is None else dataset
    model = Net() if model is None else model
    if isinstance(policy, str):
        policy = build(sw.recipes.get(policy), len(dataset), **{} if period is None else {"period": period})
    forward = outputs_of(model) if forward is None else forward
    if getattr(policy, "level", None) == "token":
        forward = tokens_of(forward)
    more["scoring"] = with_target(policy, more.get("scoring"), dataset)
    return sw.Selector(
        policy, dataset, forward, model=model, epochs=epochs, batch_size=batch_size, **more
    ), model


def step(selector, optimizer, batch):
    """One training step; the loss as a number."""
    loss = selector.loss(batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train(selector, model, loader=None, until=None, lr=0.05):
    """Train to the end, or to epoch `until`: the ids of every batch, by epoch."""
    # A last batch of one row would stop the batch norm, with or without a selector.
    loader = selector.loader(drop_last=True) if loader is None else loader
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    seen = []
    for _ in range(selector.epoch, selector.epochs if until is None else until):
        seen.append([])
        for batch in loader:
            step(selector, optimizer, batch)
            seen[-1].append(batch.ids.tolist())
    return seen


def flat(batches):
    """The ids of an epoch, sorted."""
    return sorted(i for batch in batches for i in batch)


def random_states():
    """The global random states of torch, Python and numpy."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), (kind, keys.tolist(), rest)


def plainly(code):
    """What `code` prints in a fresh process, where no shape checker sees the calls or draws numbers."""
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=root, capture_output=True, text=True
    )
    if found.returncode:
        raise AssertionError(found.stderr)
    return found.stdout
