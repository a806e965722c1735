"""A model, data and an optimizer whose seconds are counted by a clock of their own."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import samplewise as sw

N, B = 96, 16


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class _Backward(torch.autograd.Function):
    """Moves the clock in the backward."""

    @staticmethod
    def forward(ctx, x, clock, seconds):
        ctx.clock, ctx.seconds = clock, seconds
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.clock.now += ctx.seconds
        return grad, None, None


class Data(Dataset):
    """A sample takes `read` seconds."""

    def __init__(self, clock, read, n=N):
        self.clock, self.read = clock, read
        rng = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, 6, generator=rng)
        self.targets = torch.randint(3, (n,), generator=rng)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        self.clock.now += self.read
        return self.x[i], self.targets[i]


class Optimizer(torch.optim.SGD):
    """A step takes `seconds`."""

    def __init__(self, parameters, clock, seconds):
        super().__init__(parameters, lr=0.1, momentum=0.9)
        self.clock, self.seconds = clock, seconds

    def step(self, closure=None):
        self.clock.now += self.seconds
        super().step(closure)


class Slow:
    """Everything, with the seconds of a row read, of a row forward and backward, and of an update."""

    def __init__(self, read=1.0, forward=2.0, backward=4.0, fixed=8.0, update=16.0, n=N):
        self.clock = Clock()
        self.data = Data(self.clock, read, n)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.optimizer = Optimizer(self.model.parameters(), self.clock, update)
        self.seconds = forward, backward, fixed

    def forward(self, batch):
        x, y = batch
        forward, backward, fixed = self.seconds
        self.clock.now += fixed + forward * len(y)
        logits = self.model(x)
        if torch.is_grad_enabled():
            logits = _Backward.apply(logits, self.clock, fixed + backward * len(y))
        return sw.Outputs(F.cross_entropy(logits, y, reduction="none"), logits, y)

    def advise(self, **given):
        return sw.advise(
            self.forward,
            self.model,
            self.data,
            **{"batch_size": B, "optimizer": self.optimizer, "clock": self.clock, "seconds": 0.1} | given,
        )

    def train(self, method, epochs, scoring=None):
        """The seconds of an epoch of a training."""
        selector = sw.Selector(
            method, self.data, self.forward, model=self.model, epochs=epochs, batch_size=B, scoring=scoring
        )
        begun = self.clock.now
        for _ in range(epochs):
            for batch in selector.loader():
                self.optimizer.zero_grad()
                selector.loss(batch).backward()
                self.optimizer.step()
        return (self.clock.now - begun) / epochs
