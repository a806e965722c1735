"""Runs of the engine over a toy trace, with all that they chose as a list of events."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor

from samplewise.coresets.table import Subset
from samplewise.data.outputs import Outputs
from samplewise.distributed import collectives
from samplewise.selector import Selector
from samplewise.testing.trace import Trace

__all__ = ["Event", "History", "Order", "run", "walk"]

Order = Literal["drawn", "ascending", "descending"]


@dataclass(frozen=True)
class Event:
    """One thing a selector did: the ids of a pass, of a plan, or of a batch with the rows chosen of it."""

    kind: Literal["pass", "plan", "step"]
    epoch: int
    ids: Tensor
    rows: Tensor
    weights: Tensor | None

    @property
    def chosen(self) -> Tensor:
        """The ids that train."""
        return self.ids[self.rows]

    def told(self) -> tuple[Any, ...]:
        """Everything in it, for comparison."""
        return (self.kind, self.epoch, self.ids, self.rows, self.weights)


class History:
    """The events of one run, and the selector at its end."""

    def __init__(self, selector: Selector, events: list[Event]) -> None:
        self.selector, self.events = selector, events

    def of(self, kind: str) -> list[Event]:
        """The events of one kind, in order."""
        return [event for event in self.events if event.kind == kind]

    def told(self, *kinds: str) -> list[tuple[Any, ...]]:
        """All events, or those of some kinds, for comparison."""
        return [event.told() for event in self.events if not kinds or event.kind in kinds]


def walk(
    selector: Selector, trace: Trace, batch: int, order: Order = "drawn", seen: int = 0, padding: int = 0
) -> Iterator[Event]:
    """Train on a trace from the selector's position, one event after the other.

    Args:
        selector: built for n samples, without data or model.
        trace: what is observed.
        batch: rows of a batch.
        order: of the planned samples inside an epoch.
        seen: batches of the open epoch that are done.
        padding: ids repeated at the end of every observation, as samplers pad.

    After the last epoch comes the pass that some static scores want.
    """
    for epoch in range(selector.epoch, trace.epochs):
        if selector.pass_due(epoch):
            ids = selector.pass_ids(epoch)
            for part in torch.split(ids, batch):
                _observe(selector, trace, part, epoch, padding, "pass")
            yield Event("pass", epoch, ids, torch.arange(len(ids)), None)
        plan: Subset = selector.plan(epoch)
        yield Event("plan", epoch, plan.ids, torch.arange(len(plan.ids)), plan.weights)
        ordered = torch.tensor(list(selector.sampler())) if order == "drawn" else plan.ids
        ordered = ordered.flip(0) if order == "descending" else ordered
        for ids in torch.split(ordered, batch)[seen:]:
            _observe(selector, trace, ids, epoch, padding, "training")
            rows, weights = selector.choose(ids)
            yield Event("step", epoch, ids, rows, weights)
        seen = 0
    selector.set_epoch(trace.epochs)
    if selector.pass_due(trace.epochs):
        ids = selector.pass_ids(trace.epochs)
        for part in torch.split(ids, batch):
            _observe(selector, trace, part, trace.epochs, padding, "pass")
        yield Event("pass", trace.epochs, ids, torch.arange(len(ids)), None)


def _observe(
    selector: Selector,
    trace: Trace,
    ids: Tensor,
    epoch: int,
    padding: int,
    source: Literal["training", "pass"],
) -> None:
    padded = torch.cat([ids, ids[:padding]])
    outputs: Outputs = trace.outputs(padded, epoch)
    selector.observe(padded, outputs, source)


def run(
    policy: Any,
    trace: Trace,
    *,
    batch: int = 7,
    seed: int = 0,
    labels: Tensor | None = None,
    order: Order = "drawn",
    rank: int = 0,
    padding: int = 0,
) -> History:
    """Train on a trace from the first epoch to the last."""
    selector = Selector(policy, trace.n, epochs=trace.epochs, seed=seed, labels=labels)
    with mock.patch.object(collectives, "rank", return_value=rank):
        return History(selector, list(walk(selector, trace, batch, order, padding=padding)))
