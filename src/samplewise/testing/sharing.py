"""Several processes train by the front door: what each was given, what it trained on, its gradient."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samplewise import dist
from samplewise.outputs import Batch, Outputs
from samplewise.rng import generator
from samplewise.selector import Selector

__all__ = ["Mode", "Run", "Samples", "Step", "alone", "shared"]

Mode = Literal["sharded", "global"]


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process takes itself for the only one, whatever group it is in."""
    with mock.patch.object(dist, "world", return_value=1), mock.patch.object(dist, "rank", return_value=0):
        yield


class Samples:
    """n samples of three classes, and a small classifier whose losses on them grow by the epoch.

    The classifier is never updated, so a loss is a function of id and epoch alone.
    """

    def __init__(self, n: int) -> None:
        rng = generator(n, "shared samples")
        self.n, self.x, self.targets = n, torch.randn(n, 4, generator=rng), torch.arange(n) % 3
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng))

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.targets[index]

    def outputs(self, model: nn.Module, data: Any, epoch: int) -> Outputs:
        """A forward; the hardest samples of one epoch are not those of the next."""
        x, y = data
        logits = model(x)
        pace = 1 + 0.5 * torch.sin(7 * x[:, 0] + epoch)
        return Outputs(pace * F.cross_entropy(logits, y, reduction="none"), logits, y, x)

    def gradient(self, ids: Tensor, weights: Tensor, epoch: int) -> Tensor:
        """The gradient of the weighted mean loss over the samples `ids`, as one process takes it."""
        losses = self.outputs(self.net, (self.x[ids], self.targets[ids]), epoch).loss
        parts = torch.autograd.grad((weights * losses).sum() / len(ids), list(self.net.parameters()))
        return torch.cat([part.flatten() for part in parts])


@dataclass
class Step:
    """One step of one rank. Ids are without what only pads."""

    epoch: int
    given: list[int]
    trained: list[int]
    gradient: Tensor


@dataclass
class Run:
    """A training of one rank: the order and weights of every epoch, its steps, its memory at the end."""

    orders: list[list[int]]
    weights: list[dict[int, float]]
    steps: list[Step]
    columns: dict[str, Tensor]


def shared(
    policy: Any,
    samples: Samples,
    mode: Mode,
    epochs: int,
    batch: int,
    wrapped: bool = False,
    sync_every: int | None = None,
) -> Run:
    """Train on this rank's share of every epoch, without updating the model.

    Args:
        policy: for `len(samples)` samples.
        samples: the data and the model.
        mode: `sharded`: our loader; `global`: whole batches are dealt in turns and the last round is
            filled up from the epoch's start, as Accelerate does.
        epochs: of the training.
        batch: rows of a batch of one process.
        wrapped: put the model into DistributedDataParallel, which averages the gradients.
        sync_every: for the Selector.
    """
    rank, world = dist.rank(), dist.world()
    model = nn.parallel.DistributedDataParallel(samples.net) if wrapped else samples.net
    selector = Selector(
        policy, samples, lambda data: samples.outputs(model, data, selector.epoch), model=model,
        epochs=epochs, batch_size=batch, sync_every=sync_every,
    )  # fmt: skip
    loader = selector.loader()
    run = Run([], [], [], {})
    for epoch in range(epochs):
        selector.set_epoch(epoch)
        plan, order = selector.plan(epoch), list(selector.sampler("global"))
        run.orders.append(order)
        values = [1.0] * len(plan.ids) if plan.weights is None else plan.weights.tolist()
        run.weights.append(dict(zip(plan.ids.tolist(), values, strict=True)))
        batches = loader if mode == "sharded" else _dealt(samples, selector, order, batch)
        for step, given in enumerate(batches):
            rows = torch.arange(len(given.ids))
            if mode == "sharded":
                places = (step * batch + rows) * world + rank
            else:
                places = (step * world + rank) * batch + rows
            real = given.ids[places < len(order)].tolist()
            narrowed = selector.narrow(given)
            losses = samples.outputs(model, narrowed.data, epoch)
            model.zero_grad()
            selector.reduce(losses).backward()  # type: ignore[no-untyped-call]
            gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            trained = [i for i in narrowed.ids.tolist() if i in real]
            run.steps.append(Step(epoch, real, trained, gradient.clone()))
    selector.set_epoch(epochs)
    run.columns = {name: column.clone() for name, column in selector.state_dict()["engine"]["memory"].items()}
    return run


def _dealt(samples: Samples, selector: Selector, order: list[int], batch: int) -> Iterator[Batch]:
    """Every world-th batch of the global order, filled up from its start."""
    rank, world = dist.rank(), dist.world()
    whole = -(-len(order) // (batch * world)) * batch * world if world > 1 else len(order)
    padded = torch.tensor([order[place % len(order)] for place in range(whole)])
    for ids in torch.split(padded, batch)[rank::world]:
        yield Batch(ids, (samples.x[ids], samples.targets[ids]))
