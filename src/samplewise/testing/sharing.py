"""Several processes train with a Selector: what each was given, what it trained on, its gradient."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samplewise.data.outputs import Batch, Outputs
from samplewise.distributed import collectives
from samplewise.rng import generator
from samplewise.selector import Selector
from samplewise.testing.counting import with_target
from samplewise.testing.trace import by_tokens

__all__ = ["Mode", "Run", "Samples", "Step", "alone", "shared"]

Mode = Literal["sharded", "global"]


@contextmanager
def alone() -> Iterator[None]:
    """Inside the block, this process acts as the only one, even if it is in a process group."""
    with (
        mock.patch.object(collectives, "world", return_value=1),
        mock.patch.object(collectives, "rank", return_value=0),
    ):
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
        self.head = torch.randn(3, 4, generator=rng)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.targets[index]

    def outputs(self, model: Callable[[Tensor], Tensor], data: Any, epoch: int) -> Outputs:
        """A forward; the hardest samples of one epoch are not those of the next."""
        x, y = data
        logits = model(x)
        pace = 1 + 0.5 * torch.sin(7 * x[:, 0] + epoch)
        loss = pace * F.cross_entropy(logits, y, reduction="none")
        return Outputs(loss, logits, y, x, (self.head, None))

    def narrow(self, x: Tensor) -> Tensor:
        """Logits of a part of the classifier, which is used as the proxy."""
        weight, *_, bias = self.net.parameters()
        return F.linear(x, weight[:3], bias)

    def gradient(self, ids: Tensor, weights: Tensor, epoch: int, proxy: bool = False) -> Tensor:
        """The gradient of the weighted mean loss over the samples `ids`, as one process takes it.

        With `proxy` it is that of both losses.
        """
        data = (self.x[ids], self.targets[ids])
        losses = self.outputs(self.net, data, epoch).loss
        if proxy:
            losses = losses + self.outputs(self.narrow, data, epoch).loss
        parts = torch.autograd.grad((weights * losses).sum() / len(ids), list(self.net.parameters()))
        return torch.cat([part.flatten() for part in parts])


class _Forward:
    """The forward of a selector that is built with it."""

    def __init__(self, samples: Samples, model: nn.Module) -> None:
        self.samples, self.model = samples, model
        self.selector: Selector | None = None

    def _epoch(self) -> int:
        return 0 if self.selector is None else self.selector.epoch

    def __call__(self, data: Any) -> Outputs:
        return self.samples.outputs(self.model, data, self._epoch())

    def proxy(self, data: Any) -> Outputs:
        return self.samples.outputs(self.samples.narrow, data, self._epoch())


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
    rank, world = collectives.rank(), collectives.world()
    model = nn.parallel.DistributedDataParallel(samples.net) if wrapped else samples.net
    forward = _Forward(samples, model)
    selector = Selector(
        policy, samples, forward, model=model, epochs=epochs, batch_size=batch, sync_every=sync_every,
        scoring=with_target(policy, None, samples),
    )  # fmt: skip
    forward.selector = selector
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
            model.zero_grad()
            if selector.policy.proxy:  # whose loss only `loss` adds
                narrowed, loss = given, selector.loss(given)
            else:
                narrowed = selector.narrow(given)
                outputs = samples.outputs(model, narrowed.data, epoch)
                if selector.policy.level == "token":
                    outputs = by_tokens(outputs, narrowed.ids)
                loss = selector.reduce(outputs)
            torch.autograd.backward(loss)
            gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            # A plan of fewer samples than a batch is padded with itself.
            trained = list(dict.fromkeys(i for i in narrowed.ids.tolist() if i in real))
            run.steps.append(Step(epoch, real, trained, gradient.clone()))
    selector.set_epoch(epochs)
    run.columns = {name: column.clone() for name, column in selector.state_dict()["engine"]["memory"].items()}
    return run


def _dealt(samples: Samples, selector: Selector, order: list[int], batch: int) -> Iterator[Batch]:
    """Every world-th batch of the global order, filled up from its start."""
    rank, world = collectives.rank(), collectives.world()
    whole = -(-len(order) // (batch * world)) * batch * world if world > 1 else len(order)
    padded = torch.tensor([order[place % len(order)] for place in range(whole)])
    for ids in torch.split(padded, batch)[rank::world]:
        yield Batch(ids, (samples.x[ids], samples.targets[ids]))
