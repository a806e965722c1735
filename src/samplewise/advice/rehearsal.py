"""`rehearse`: what a method reads, scores and trains, found by a run of it on a small stand-in task."""

import math
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from samplewise.classification import classifier
from samplewise.cost.ledger import Ledger
from samplewise.loop.scoring import Scoring
from samplewise.policy import Policy
from samplewise.rng import generator
from samplewise.selector import Selector

__all__ = ["CLASSES", "WIDTH", "Rehearsal", "Work", "descend", "plain_loop", "rehearse", "scoring_run"]

CLASSES, WIDTH = 4, 8
"""Classes and features of the stand-in task."""
_SWEPT = torch.zeros(1 << 19)
"""2 MiB: about as much as the caches of one core hold."""
_KNOWN = 10
"""Classes for static methods: `tdds` has published numbers for them."""


@dataclass(frozen=True)
class Work:
    """What happens up to one optimizer step, in rows.

    Args:
        read: rows that the data set gave.
        scored: rows of forwards without gradients.
        trained: rows of the step; 0 for a pass before an epoch.
    """

    read: float
    scored: float
    trained: float


@dataclass(frozen=True)
class Rehearsal:
    """A run on the stand-in task.

    Args:
        work: how often each kind of step and pass came.
        epochs: of the run.
        rows: number of samples.
        seconds: processor time of the run.
        selecting: of this, outside of forwards, backwards and collating: the loader and the selection.
        columns: the shape and the bytes of an element of every column of the memory, without the first axis.
        each: other bytes a sample: counts of selections, weights.
        ledger: of the run.
    """

    work: Mapping[Work, int]
    epochs: int
    rows: int
    seconds: float
    selecting: float
    columns: tuple[tuple[tuple[int, ...], int], ...]
    each: int
    ledger: Ledger

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return sum(count for work, count in self.work.items() if work.trained)

    def bytes_a_sample(self, widths: Mapping[int, int] = MappingProxyType({})) -> int:
        """Bytes of the method's memory for each sample.

        Args:
            widths: the sizes that CLASSES and WIDTH have in the user's task.
        """
        shapes = [([widths.get(size, size) for size in shape], size) for shape, size in self.columns]
        return self.each + sum(math.prod(shape) * size for shape, size in shapes)


class _Rows(Dataset[int]):
    """Gives the numbers of its rows, whole batches at a time, and counts and times what is read."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.targets, self.read, self.seconds = x, y, 0, 0.0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> int:
        return self.__getitems__([i])[0]

    def __getitems__(self, ids: list[int]) -> list[int]:
        self.read += len(ids)
        return ids

    def count(self) -> int:
        """Rows read since the last call."""
        read, self.read = self.read, 0
        return read

    def collate(self, ids: list[int]) -> list[Tensor]:
        """Inputs and targets of a batch."""
        begun = time.thread_time()
        found = [self.x[ids], self.targets[ids]]
        self.seconds += time.thread_time() - begun
        return found


class _Watched:
    """A forward that counts its rows, with and without gradients, and its seconds."""

    def __init__(self, forward: Any) -> None:
        self.forward, self.classes = forward, forward.classes
        self.scored, self.seconds = 0, 0.0

    def __call__(self, data: Any) -> Any:
        begun = time.thread_time()
        found = self.forward(data)
        _sweep()
        self.seconds += time.thread_time() - begun
        if not torch.is_grad_enabled():
            self.scored += len(data[1])
        return found

    def count(self) -> int:
        """Rows scored since the last call."""
        scored, self.scored = self.scored, 0
        return scored


class _Outside:
    """Times what is neither forward nor collate, by kind: the medians are steadier than the sum."""

    def __init__(self, data: _Rows, forward: _Watched) -> None:
        self.data, self.forward = data, forward
        self._found: dict[Any, list[float]] = defaultdict(list)
        self.go_on()

    def go_on(self) -> None:
        """Begin the next part."""
        self._begun, self._aside = time.thread_time(), self.data.seconds + self.forward.seconds

    def note(self, kind: Any) -> None:
        """End a part."""
        took, aside = time.thread_time() - self._begun, self.data.seconds + self.forward.seconds - self._aside
        self._found[kind].append(took - aside)
        self.go_on()

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return sum(median(found) * len(found) for found in self._found.values())


def rehearse(
    policy: Any, epochs: int, rows: int = 240, batch_size: int = 24, scoring: Scoring | None = None
) -> Rehearsal:
    """Run a method that is not static on a stand-in task: random inputs of four classes, one linear layer.

    Counts that a method fixes are exact. Those that depend on losses are those of the stand-in task. A proxy
    is left out.

    Args:
        policy: a `Policy`, or a method of your own.
        epochs: length of the run.
        rows: number of samples.
        batch_size: of the run.
        scoring: how scores are computed; None: as training does.
    """
    if getattr(policy, "proxy", False):
        policy = replace(policy, proxy=False)
    draw = generator(0, "toy")
    x = torch.randn(rows, WIDTH, generator=draw)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] + 0.5 * torch.randn(rows, generator=draw) > 0).long()
    data = _Rows(x, y)
    work: Counter[Work] = Counter()
    with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(WIDTH, CLASSES)
        forward = _Watched(classifier(model, head=""))
        selector: Selector[Any] = Selector(
            policy,
            data,
            forward,
            model=model,
            epochs=epochs,
            batch_size=batch_size,
            labels=y,
            scoring=scoring,
        )
        loader = selector.loader(collate_fn=data.collate)
        begun, clock = time.thread_time(), _Outside(data, forward)
        for _ in range(epochs):
            batches = iter(loader)
            clock.note("open")
            if data.read or forward.scored:
                work[Work(data.count(), forward.count(), 0)] += 1
            for batch in batches:
                loss, outputs = selector.loss(batch, return_outputs=True)
                made = Work(data.count(), forward.count(), len(outputs.loss))
                work[made] += 1
                clock.note((made.scored > 0, made.trained < made.read))
                # Without an optimizer of torch: importing one takes more than a second.
                torch.autograd.backward(loss)
                descend(model)
                _sweep()
                clock.go_on()
            clock.note("close")
        seconds = time.thread_time() - begun
    engine = selector.engine
    kept = [column for column in engine.memory.columns.values() if column.ndim and len(column) == rows]
    columns = tuple((tuple(column.shape[1:]), column.element_size()) for column in kept)
    each = engine.times_selected.element_size()
    if engine.weighted:
        each += 4
    return Rehearsal(dict(work), epochs, rows, seconds, clock.seconds, columns, each, selector.ledger)


def plain_loop(epochs: int, rows: int = 240, batch_size: int = 24) -> float:
    """Seconds of a step without a Selector that are neither forward, backward nor collating."""
    data = _Rows(torch.zeros(rows, WIDTH), torch.zeros(rows, dtype=torch.int64))
    with torch.random.fork_rng(devices=[]):
        model = nn.Linear(WIDTH, CLASSES)
        forward = _Watched(classifier(model, head=""))
        loader = DataLoader(data, batch_size, shuffle=True, collate_fn=data.collate)
        clock, steps = _Outside(data, forward), 0
        for _ in range(epochs):
            for batch in loader:
                loss = forward(batch).loss.mean()
                clock.note("step")
                torch.autograd.backward(loss)
                descend(model)
                _sweep()
                clock.go_on()
                steps += 1
    return clock.seconds / steps


def scoring_run(policy: Policy, epochs: int, rows: int = 240, batch_size: int = 24) -> tuple[float, int]:
    """The share that a static method keeps, and the epochs of full training that its scores need."""
    labels = torch.arange(rows) % _KNOWN
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        model = nn.Linear(1, _KNOWN)
        selector: Selector[Any] = Selector(
            policy,
            TensorDataset(torch.zeros(rows, 1), labels),
            classifier(model, head=""),
            model=model,
            epochs=epochs,
            batch_size=batch_size,
            labels=labels,
        )
    needed = 0 if policy.source == "none" else max(selector.final.values(), default=0)
    return (1.0 if policy.picker is None else policy.picker.share), needed


def _sweep() -> None:
    """Fill the caches with other memory, as the model of the user does, so that selection finds them cold."""
    _SWEPT.add_(1.0)


def descend(model: nn.Module, lr: float = 0.3) -> None:
    """A step of plain gradient descent. The gradients are 0 after it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=lr)
                parameter.grad = None
