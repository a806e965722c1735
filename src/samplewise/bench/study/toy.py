"""What a method costs, found by a run of it on a toy task: a few rows, a network of one layer."""

import time
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn

import samplewise as sw
from samplewise.bench.methods import split
from samplewise.bench.protocols.strategies import planned_samples
from samplewise.coresets.parse import parse
from samplewise.policy import Policy
from samplewise.rng import generator

__all__ = ["Spent", "descend", "spent"]

_ROWS, _BATCH, _CLASSES, _WIDTH = 240, 24, 4, 8
_SIZES = _ROWS, _BATCH
_KNOWN = 10
"""Classes for static methods: `tdds` has published numbers for them."""
_NARROW = 0.25
"""FLOPs of a narrow view with half the channels, in shares of the model's."""
_PLAIN = 5
"""Epochs in which the toy times the loop without selection."""


@dataclass(frozen=True)
class Spent:
    """What a run spends, in shares of full training of the same length.

    Args:
        steps: optimizer steps.
        trained: samples with a forward and a backward.
        scored: forwards that only score.
        scoring_epochs: epochs of full training in a scoring run before it; 0 without one.
        around: seconds of a step of the toy. This is nearly all loader and selection.
    """

    steps: float
    trained: float
    scored: float
    scoring_epochs: int = 0
    around: float = 0.0

    def cost(self, epochs: int) -> float:
        """The cost of a run of this length, in epochs of full training, scoring included."""
        return (self.trained + self.scored / 3) * epochs + self.scoring_epochs


@lru_cache(maxsize=1024)
def spent(method: str, epochs: int) -> Spent:
    """What a method spends. Shares of samples are exact, others depend on losses and are those of the toy.

    Args:
        method: as on the command line.
        epochs: of its run.
    """
    policy = parse(split(method)[0])
    if getattr(policy, "level", "") == "static":
        return _static(policy, epochs)
    own = not isinstance(policy, Policy)  # a method of another kind plans in the run only
    if not own and policy.source == "none" and (planned := planned_samples(policy, *_SIZES, epochs)):
        share = planned / (_ROWS * epochs)
        around = 0.0 if policy.name == "full" else spent("full", _PLAIN).around
        if around:
            return Spent(1.0 if policy.level == "batch" else share, share, 0.0, around=around)
    proxy = getattr(policy, "proxy", False)
    if proxy:
        policy = replace(policy, proxy=False)
    draw = generator(0, "toy")
    x = torch.randn(_ROWS, _WIDTH, generator=draw)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] + 0.5 * torch.randn(_ROWS, generator=draw) > 0).long()
    model = nn.Linear(_WIDTH, _CLASSES)
    # Without an optimizer of torch: importing one takes more than a second.
    with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
        selector = sw.Selector(
            policy,
            torch.utils.data.TensorDataset(x, y),
            sw.classifier(model, head=""),
            model=model,
            epochs=epochs,
            batch_size=_BATCH,
            labels=y,
        )
        loader, steps, begun = selector.loader(), 0, time.process_time()
        for _ in range(epochs):
            for batch in loader:
                loss = selector.loss(batch)
                torch.autograd.backward(loss)
                descend(model)
                steps += 1
    around = (time.process_time() - begun) / max(1, steps)
    ledger, whole = selector.ledger, _ROWS * epochs
    trained = ledger.samples_backpropagated / whole
    scored = (ledger.cost - 3 * ledger.samples_backpropagated) / whole
    if proxy:
        trained, scored = trained * (1 + _NARROW), scored * _NARROW
    return Spent(steps / (epochs * (_ROWS // _BATCH)), trained, scored, around=around)


def descend(model: nn.Module, lr: float = 0.3) -> None:
    """A step of plain gradient descent. The gradients are 0 after it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=lr)
                parameter.grad = None


def _static(policy: sw.Policy, epochs: int) -> Spent:
    """A scoring run until the score is final, and a training on what is kept."""
    share = 1.0 if policy.picker is None else policy.picker.share
    labels = torch.arange(_ROWS) % _KNOWN
    data, model = torch.utils.data.TensorDataset(torch.zeros(_ROWS, 1), labels), nn.Linear(1, _KNOWN)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        selector = sw.Selector(
            policy,
            data,
            sw.classifier(model, head=""),
            model=model,
            epochs=epochs,
            batch_size=_BATCH,
            labels=labels,
        )
    final = selector.final
    needed = 0 if policy.source == "none" else max(final.values(), default=0)
    return Spent(share, share, 0.0, needed, spent("full", _PLAIN).around)
