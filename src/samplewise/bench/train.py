"""One training run: one method with one seed."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Num
from torch import Tensor

import samplewise as sw
from samplewise.bench import augment, machine, models, optim, rngstate
from samplewise.bench.best import BestEpoch
from samplewise.bench.cheap import gated, scoring_for
from samplewise.bench.checkpoints import refuse_foreign, refuse_misplaced
from samplewise.bench.data import ImageData
from samplewise.bench.forward import Forward
from samplewise.bench.recorded import epoch_row, finished_row
from samplewise.bench.rows import AnyEpoch, EpochRow, ValidatedEpoch, check_curve
from samplewise.bench.settings import Settings
from samplewise.cost.energy import EnergyMeter
from samplewise.files import checkpoints
from samplewise.integrations.loggers import EpochLogger, attach
from samplewise.loop.loader import Loader

TOP = 5
"""The true class counts as found in `top5_accuracy` if it is among so many classes."""
SHOWN = 500
"""The most images that `Run.prepare` shows to the model."""
# EVERY: seconds between two checkpoints in an epoch, so a kill loses only a few seconds of work.
# SPARING: the interval is at least this many times the time to write one, which counts as training time.
EVERY, SPARING = 3.0, 100


class Images(torch.utils.data.Dataset[tuple[np.ndarray, int]]):
    """The training split as a map-style data set of (pixels, label)."""

    def __init__(self, x: Num[Tensor, "n ch side side"], y: Tensor) -> None:
        self.pixels = x.numpy()
        self.labels: list[int] = y.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.pixels[index], self.labels[index]


def collate(samples: list[tuple[np.ndarray, int]]) -> tuple[Tensor, Tensor]:
    """Stack a batch in one call. This takes a tenth of the time of the default collate."""
    pixels, labels = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(pixels)), torch.tensor(labels)


@dataclass(frozen=True)
class Task:
    """The definition of one run: a method, a seed and the data.

    `policy` is a `Policy` or the user's own method. `stretch` is the number of its epochs per epoch of
    ordinary training. `model` replaces the model of the settings, for a proxy that only scores. If the data
    have a validation split, a run is tested on it after its epochs, and `best_by` names the result that
    chooses the best epoch. `loggers` get the numbers of every epoch, `meter` tells its
    energy.
    """

    method: str
    policy: Any
    seed: int
    data: ImageData
    settings: Settings
    baseline_seconds: float | None = None
    stretch: float = 1.0
    model: str | None = None
    best_by: str = "accuracy"
    loggers: tuple[EpochLogger, ...] = ()
    meter: EnergyMeter | None = None


class Run:
    """A running task: model, optimizer and selector. Its state can be saved and restored."""

    def __init__(self, task: Task) -> None:
        self.task, s, data = task, task.settings, task.data
        self.device = torch.device(s.device or "cpu")
        rngstate.seed_all(task.seed)
        self.model = self._model(task.model or s.model)
        # The forward is built first: the optimizer must also get the norms of the narrow view.
        self.forward = Forward(self.model, data, s, getattr(task.policy, "proxy", False))
        self.optimizer = optim.optimizer(s.optimizer, self.model, s.lr or 0.0, s.weight_decay, s.momentum)
        self.lr_shape = s.lr_shape()
        scoring = scoring_for(task.policy, s.scoring, self._model)
        small = None if scoring is None else scoring.scorer
        self.models = [self.model] if small is None else [self.model, small]
        self.selector = sw.Selector(
            task.policy,
            Images(data.train_x, data.train_y),
            self.forward,
            model=self.model,
            epochs=s.epochs,
            batch_size=s.batch_size,
            seed=task.seed,
            labels=data.train_y,
            history=s.history,
            gate=s.gate and gated(task.policy),
            scoring=scoring,
        )
        ledger = self.selector.ledger
        ledger.baseline_seconds, ledger.stretch = task.baseline_seconds, task.stretch
        self.step = self.done = 0
        self.cpu = 0.0
        self.next_save = time.monotonic() + EVERY
        self.curve: list[dict[str, Any]] = []
        self.best = None if data.validation_y is None else BestEpoch(task.best_by)

    def _model(self, name: str) -> torch.nn.Module:
        data = self.task.data
        return models.build(name, data.channels, data.classes, data.side, self.task.seed).to(self.device)

    def prepare(self) -> None:
        """Show the models a fixed sample of the training split, before the first step of a new run."""
        x = self.task.data.train_x
        rows = torch.linspace(0, len(x) - 1, min(SHOWN, len(x))).long()  # files may be sorted by class
        name = self.task.model or self.task.settings.model
        for model in self.models:
            models.prepare(model, self.forward.normalized(x[rows]), name, self.task.seed)

    def train_step(self, batch: sw.Batch, epoch: int) -> None:
        """One training step, as in the loop of the README."""
        batch = self.augmented(batch, epoch)
        self.set_lr(epoch)
        loss = self.selector.loss(batch)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.step += 1

    def augmented(self, batch: sw.Batch, epoch: int) -> sw.Batch:
        """The batch with crops and flips, if the settings want them."""
        if not self.task.settings.augment:
            return batch
        images, labels = batch.data
        images = augment.crop_and_flip(images, self.task.seed, epoch, self.step)
        return sw.Batch(batch.ids, (images, labels))

    def set_lr(self, epoch: int) -> None:
        """Set the learning rate of the next step."""
        lr = (self.task.settings.lr or 0.0) * self.selector.lr_factor(epoch)
        self.lr_shape.set(self.optimizer, lr, self.selector.progress)

    def loader(self) -> Loader:
        """The loader of the training batches."""
        workers = self.task.settings.workers
        return self.selector.loader(num_workers=workers, collate_fn=collate, persistent_workers=workers > 0)

    def train_epoch(
        self, loader: Loader, epoch: int, checkpoint: Path, on_step: Callable[[float], None]
    ) -> None:
        """Train the rest of the current epoch. Save a checkpoint every few seconds."""
        begun = machine.clock(self.device)
        for batch in loader:
            self.train_step(batch, epoch)
            on_step(self.selector.progress)
            if time.monotonic() > self.next_save:
                self.cpu += machine.clock(self.device) - begun
                begun = machine.clock(self.device)
                self.save(checkpoint)
        self.cpu += machine.clock(self.device) - begun
        self.step, self.done = 0, epoch + 1

    def evaluate(self, split: str = "test") -> dict[str, float]:
        """Test the model on a split: accuracies in percent, and the mean loss.

        `worst_class` is the lowest accuracy of a class. With more than 5 classes, `top5_accuracy` is the
        share of samples whose class is among the 5 that the model finds most probable.
        """
        x, y = self.task.data.split(split)
        right, loss, among = torch.zeros(len(y), dtype=torch.bool), 0.0, 0
        several = self.task.data.classes > TOP
        self.model.eval()
        with torch.no_grad():
            for rows in torch.split(torch.arange(len(y)), 500):
                logits, labels = self.forward.logits(x[rows]), y[rows].to(self.device)
                right[rows] = (logits.argmax(1) == labels).cpu()
                loss += float(F.cross_entropy(logits, labels, reduction="sum"))
                if several:
                    among += int((logits.topk(TOP).indices == labels[:, None]).sum())
        self.model.train()
        sizes = torch.bincount(y, minlength=self.task.data.classes)
        by_class = torch.bincount(y[right], minlength=self.task.data.classes)[sizes > 0] / sizes[sizes > 0]
        return {
            "accuracy": 100 * int(right.sum()) / len(y),
            "loss": loss / len(y),
            "worst_class": 100 * float(by_class.min()),
        } | ({"top5_accuracy": 100 * among / len(y)} if several else {})

    def record(self, epoch: int) -> dict[str, Any]:
        """Test the model and return the row of the curve after `epoch` epochs.

        With a validation split, the model is tested on it, and the weights of the best epoch are kept.
        """
        split = "test" if self.best is None else "validation"
        found = self.evaluate(split)
        ledger = self.selector.ledger
        if self.best is not None:
            self.best.offer(epoch, found, self.model)
        about = {
            "method": self.task.method,
            "seed": self.task.seed,
            "epoch": epoch,
            "epochs": self.task.settings.epochs,
        }
        shown = {name: value for name, value in found.items() if name != "worst_class"}
        return epoch_row(about, split, shown, ledger, self.cpu)

    def result(self) -> dict[str, Any]:
        """The row of a finished run: its last epoch, its savings, and the seconds of each stage."""
        return finished_row(self.curve, "accuracy", len(self.task.data), self.selector.ledger)

    def save(self, path: Path) -> None:
        """Write a checkpoint with the whole state, and set the time of the next one."""
        begun = time.monotonic()
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "selector": self.selector.state_dict(),
            "random": rngstate.capture(),
            "step": self.step,
            "done": self.done,
            "cpu": self.cpu,
            "curve": self.curve,
            "best": self.best and self.best.state_dict(),
        }
        checkpoints.save(path, state)
        ended = time.monotonic()
        self.next_save = ended + max(EVERY, SPARING * (ended - begun))

    def begin(self, path: Path, kind: type[AnyEpoch] = EpochRow, tested: Iterable[int] = ()) -> None:
        """Continue from a checkpoint if there is one, else prepare the model for its first step."""
        if path.exists():
            self.restore(path, kind, tested)
        else:
            self.prepare()

    def restore(self, path: Path, kind: type[AnyEpoch] = EpochRow, tested: Iterable[int] = ()) -> None:
        """Continue from a checkpoint of this run.

        Args:
            path: the checkpoint.
            kind: the schema of a row of the curve.
            tested: the epochs after which the model is tested.

        Raises:
            ValueError: if the checkpoint is damaged or belongs to another run.
        """
        try:
            state = checkpoints.load(path)
        except ValueError as error:
            raise ValueError(f"{error} Delete it to restart this run from its first epoch.") from error
        try:
            epochs = self.task.settings.epochs
            refuse_foreign(state, self.model, self.optimizer, epochs)
            due = list(takewhile(lambda epoch: epoch <= state["done"], tested))
            check_curve(state["curve"], kind, due, epochs)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.selector.load_state_dict(state["selector"])
            refuse_misplaced(state, self.selector.timeline.where())
            rngstate.restore(state["random"])
            self.step, self.done, self.cpu = state["step"], state["done"], state["cpu"]
            self.curve = state["curve"]
            if self.best is not None:
                self.best.load_state_dict(state["best"], self.model)
        except (LookupError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(
                f"checkpoint {path} does not fit this run: {error}. Delete it to restart this run from its "
                "first epoch."
            ) from error


def train(
    task: Task,
    checkpoint: Path,
    on_step: Callable[[float], None] = lambda progress: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
) -> Run:
    """Train `task`. If `checkpoint` exists, continue from it.

    The checkpoint is written after each epoch and every few seconds. It holds the whole state, so a run that
    was killed and continued gives exactly the same result.
    """
    run, settings = Run(task), task.settings

    def tested(epoch: int) -> bool:
        return not epoch % settings.test_every or epoch == settings.epochs

    kind = EpochRow if run.best is None else ValidatedEpoch
    run.begin(checkpoint, kind, filter(tested, range(1, settings.epochs + 1)))
    if task.meter is not None:
        run.selector.ledger.measure_energy(task.meter)
    attach(run.selector, *task.loggers)
    loader = run.loader()
    for epoch in range(run.done, settings.epochs):
        run.train_epoch(loader, epoch, checkpoint, on_step)
        if tested(epoch + 1):
            run.curve.append(run.record(epoch + 1))
        run.save(checkpoint)
        if tested(epoch + 1):
            on_epoch(run.curve[-1])
    return run
