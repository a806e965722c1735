"""Seconds of runs before they run, by a few timed steps on the data; and the memory of this process."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from samplewise.advice.rehearsal import descend
from samplewise.bench import augment, machine, models, rngstate
from samplewise.bench.data import ImageData
from samplewise.bench.forward import Forward
from samplewise.bench.language.run import LanguageRun, padded
from samplewise.bench.settings import Settings
from samplewise.bench.study.jobs import FULL
from samplewise.bench.study.toy import Spent
from samplewise.bench.text.data import TextData
from samplewise.bench.text.encoder import Encoder
from samplewise.bench.text.task import TextTask
from samplewise.bench.train import Images, collate
from samplewise.coresets.parse import parse
from samplewise.files import checkpoints

__all__ = ["Clock", "of_images", "of_language", "of_texts", "resident"]

_LONGEST = 0.25
"""Seconds for the timing of one kind of step."""
_SMALL = 4
"""The second kind of step has this part of the batch."""


@dataclass(frozen=True)
class Clock:
    """Seconds on the task.

    Args:
        step: of a step, without what grows with its samples.
        sample: of a sample in a step.
        forward: of a sample that is only scored or tested.
        save: of the checkpoint after an epoch.
    """

    step: float
    sample: float
    forward: float
    save: float

    def of(self, spent: Spent, epochs: int, n: int, batch_size: int) -> float:
        """Seconds of a run, without its tests and its scoring run."""
        steps, step = -(-n // batch_size), self.step + spent.around
        trained = spent.steps * steps * step + spent.trained * n * self.sample + self.save
        return epochs * (trained + spent.scored * n * self.forward)


@dataclass(frozen=True)
class _Steps:
    """What is timed on a task.

    Args:
        step: a step as in a run, of a number of samples.
        forward: a forward of a number of samples, without gradients.
        model: whose checkpoint is timed; None if runs save none.
    """

    step: Callable[[int], None]
    forward: Callable[[int], None]
    model: nn.Module | None


def _clock(settings: Settings, n: int, timed: _Steps) -> Clock:
    """Time steps of full training with whole and with smaller batches, and forwards."""
    size, device = min(settings.batch_size, n), torch.device(settings.device or "cpu")
    small = max(2, size // _SMALL)
    with rngstate.kept():
        whole = _median(lambda: timed.step(size), device)
        part = _median(lambda: timed.step(small), device)
        alone = _median(lambda: timed.forward(size), device) / size
        save = 0.0 if timed.model is None else _saving(timed.model)
    sample = max(0.0, (whole - part) / (size - small)) if size > small else whole / size
    return Clock(max(0.0, whole - sample * size), sample, alone, save)


def of_images(settings: Settings, data: ImageData) -> Clock:
    """The clock of trainings of images, by steps on the first ones."""
    with rngstate.kept():
        timed = _of_images(settings, data)
    return _clock(settings, len(data), timed)


def of_texts(settings: Settings, data: TextData, encoder: Encoder) -> Clock:
    """The clock of fine-tunings, by steps on the first texts in the order of a run."""
    with rngstate.kept():
        timed = _of_texts(settings, data, encoder)
    return _clock(settings, len(data), timed)


def of_language(settings: Settings, n: int, run: LanguageRun) -> Clock:
    """The clock of trainings of a language model, by steps of a run of `full` on n texts."""
    with rngstate.kept():
        timed = _of_language(run)
    return _clock(settings, n, timed)


def _of_images(settings: Settings, data: ImageData) -> _Steps:
    """Steps on the first images: collating, augmenting, forward, backward, update."""
    model = models.build(settings.model, data.channels, data.classes, data.side, seed=0)
    forward = Forward(model.to(settings.device or "cpu"), data, settings, proxy=False)

    def only_forward(size: int) -> None:
        with torch.no_grad():
            forward.logits(data.train_x[:size])

    return _Steps(lambda size: _step(forward, data, size), only_forward, model)


def _of_texts(settings: Settings, data: TextData, encoder: Encoder) -> _Steps:
    """Steps on the first texts in the order of a run: padding, forward, backward, clipping, update."""
    from samplewise.bench.text.run import TextRun

    task = TextTask(FULL, parse(FULL), 0, data, encoder, settings)
    run = TextRun(task)
    optimizer = run.trainer.create_optimizer()

    def step(size: int) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(run.model(**run.first_rows(size)).loss)
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1e9)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        optimizer.step()

    def only_forward(size: int) -> None:
        with torch.no_grad():
            run.logits(run.first_rows(size))

    return _Steps(step, only_forward, None)


def _of_language(run: LanguageRun) -> _Steps:
    """Steps on the first texts: filling up, forward, backward, clipping, update."""

    def step(size: int) -> None:
        batch = padded([run.rows[i] for i in range(size)])
        torch.autograd.backward(run.forward(batch).loss.mean())
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1e9)
        for group in run.optimizer.param_groups:
            group["lr"] = 0.0
        run.optimizer.step()
        run.optimizer.zero_grad()

    def only_forward(size: int) -> None:
        with torch.no_grad():
            run.forward(padded([run.rows[i] for i in range(size)]))

    return _Steps(step, only_forward, None)


def _step(forward: Forward, data: ImageData, size: int) -> None:
    """A step as in a run, on the first rows: collating, augmenting, forward, backward, update."""
    rows = Images(data.train_x[:size], data.train_y[:size])
    images, labels = collate([rows[i] for i in range(size)])
    if forward.settings.augment:
        images = augment.crop_and_flip(images, 0, 0, 0)
    torch.autograd.backward(forward((images, labels)).loss.mean())
    descend(forward.model, lr=0.0)


def _saving(model: nn.Module) -> float:
    """Seconds of a checkpoint: the weights, twice as much for the optimizer and the best epoch."""
    weights = model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        checkpoints.save(
            Path(folder) / "checkpoint.pt", {"model": weights, "optimizer": weights, "best": weights}
        )
        return time.monotonic() - begun


def _median(call: Callable[[], None], device: torch.device) -> float:
    """The median seconds of a call, after one that does not count."""
    call()
    ends = time.monotonic() + _LONGEST
    found: list[float] = []
    while not found or (time.monotonic() < ends and len(found) < 30):
        begun = machine.clock(device)
        call()
        found.append(machine.clock(device) - begun)
    return sorted(found)[len(found) // 2]


def resident() -> int:
    """Bytes that this process takes in memory."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
