"""What a study will take: its runs, their cost, time and memory. Nothing is trained for a result."""

import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from samplewise.advice.rehearsal import descend
from samplewise.bench import augment, machine, models, rngstate
from samplewise.bench.data import ImageData
from samplewise.bench.forward import Forward
from samplewise.bench.judge import rungs
from samplewise.bench.language.run import padded
from samplewise.bench.settings import Settings
from samplewise.bench.study.images import ImageTrainer
from samplewise.bench.study.jobs import FULL, Job
from samplewise.bench.study.language import LanguageTrainer
from samplewise.bench.study.plan import Plan
from samplewise.bench.study.text import TextTrainer
from samplewise.bench.study.toy import Spent, spent
from samplewise.bench.study.trainer import Trainer
from samplewise.bench.text.task import TextTask
from samplewise.bench.train import Images, collate
from samplewise.coresets.parse import parse
from samplewise.files import checkpoints

__all__ = ["Estimate", "Part", "estimate"]

_LONGEST = 0.25
"""Seconds for the timing of one kind of step."""
_SMALL = 4
"""The second kind of step has this part of the batch."""


@dataclass(frozen=True)
class Part:
    """The missing runs of one method and one length.

    Args:
        name: the method, with the epochs of a shorter or longer run of `full`.
        runs: how many are missing.
        cost: of each, in full trainings, scoring included.
        seconds: of each, tests included; None if it is not known.
        assumed: whether the cost could not be found, and is that of full training.
    """

    name: str
    runs: int
    cost: float
    seconds: float | None
    assumed: bool = False


@dataclass(frozen=True)
class Estimate:
    """What the missing runs of a study will take. Exact controls between two rungs come on top.

    Args:
        parts: the missing runs.
        finished: rows that are there.
        seconds: the wall clock of all missing runs, with the processes that run at the same time.
        memory: bytes that the processes take together, as this one does now.
        exact: the number of further runs that exact controls may need, at most.
    """

    parts: tuple[Part, ...]
    finished: int
    seconds: float | None
    memory: int
    exact: int

    @property
    def runs(self) -> int:
        """The number of missing runs."""
        return sum(part.runs for part in self.parts)

    @property
    def cost(self) -> float:
        """Their cost in full trainings."""
        return sum(part.runs * part.cost for part in self.parts)


@dataclass(frozen=True)
class _Clock:
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
        """Seconds of a run, without its tests."""
        steps, step = -(-n // batch_size), self.step + spent.around
        scoring = spent.scoring_epochs * (step * steps + self.sample * n + self.save)
        trained = spent.steps * steps * step + spent.trained * n * self.sample + self.save
        return scoring + epochs * (trained + spent.scored * n * self.forward)


def estimate(plan: Plan, trainer: Trainer, jobs: int = 1) -> Estimate:
    """Estimate the missing runs.

    The cost of a method is found on a toy task, see `toy.spent`. Seconds come from finished rows if there are
    some, else from a few steps of full training on the data. Your own training has none before its first row.

    Args:
        plan: of the study.
        trainer: of the study.
        jobs: processes that run at the same time.
    """
    costs = {method: _cost(method, plan) for method in plan.judged}
    ladder = rungs(plan.spec.epochs, longer=any(cost > 1 for cost in costs.values()))
    wanted = _wanted(plan, ladder)
    timed = _from_rows(plan) if len(plan.rows) else _from_steps(trainer)
    parts = []
    for (method, epochs), runs in wanted.items():
        found, assumed = _spent(method, epochs)
        name = f"full, {epochs} epoch{'s' * (epochs > 1)}" if method == FULL else method
        cost = found.cost(epochs) / plan.spec.epochs
        parts.append(Part(name, runs, cost, timed(method, epochs, found), assumed))
    known = [part.runs * part.seconds for part in parts if part.seconds is not None]
    seconds = sum(known) / jobs if len(known) == len(parts) else None
    between = {int(cost * plan.spec.epochs + 1e-6) for cost in costs.values()} - {0, *ladder}
    exact = len(between) * plan.spec.seeds
    return Estimate(tuple(parts), len(plan.rows), seconds, jobs * _resident(), exact)


Timed = Callable[[str, int, Spent], float | None]
"""Seconds of a run, by method, epochs and what it spends."""


def _from_rows(plan: Plan) -> Timed:
    """The mean seconds of finished runs; of other methods by their cost."""
    rows = list(plan.rows)
    known: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        known[row["method"], row["epochs"]].append(row["wall"])
    epoch = sum(row["wall"] for row in rows) / sum(
        _spent(row["method"], row["epochs"])[0].cost(row["epochs"]) for row in rows
    )

    def timed(method: str, epochs: int, found: Spent) -> float:
        same = known.get((method, epochs))
        return fmean(same) if same else epoch * found.cost(epochs)

    return timed


def _from_steps(trainer: Trainer) -> Timed:
    """By timed steps and forwards on the data. Tests of the model are in it."""
    if not isinstance(trainer, ImageTrainer | TextTrainer):
        return lambda method, epochs, found: None
    clock = _clock(trainer.settings, len(trainer.data), _steps(trainer))
    settings, n = trainer.settings, len(trainer.data)
    validation, test = len(trainer.data.split("validation")[1]), len(trainer.data.test_y)

    def timed(method: str, epochs: int, found: Spent) -> float:
        own = replace(settings, method=(method,)).of(method)
        tested = (epochs // own.test_every + 1) * validation + 2 * test
        return clock.of(found, epochs, n, own.batch_size) + tested * clock.forward

    return timed


def _wanted(plan: Plan, ladder: tuple[int, ...]) -> Counter[tuple[str, int]]:
    """The missing runs, by method and length."""
    pairs = [(FULL, epochs) for epochs in ladder]
    pairs += [(method, plan.epochs(method)) for method in plan.judged]
    jobs = [Job(*pair, seed) for pair in pairs for seed in range(plan.spec.seeds)]
    if plan.spec.tune:
        # A tuned run has a row under its own learning rate.
        jobs = [job for job in jobs if plan.row(job.method, job.epochs, job.seed) is None]
        jobs += [job for pair in pairs for job in plan.tuning(*pair) if plan.rows.get(job) is None]
    else:
        jobs = [job for job in jobs if plan.rows.get(job) is None]
    return Counter((job.method, job.epochs) for job in jobs)


def _cost(method: str, plan: Plan) -> float:
    """The cost of a method in full trainings."""
    epochs = plan.epochs(method)
    return _spent(method, epochs)[0].cost(epochs) / plan.spec.epochs


def _spent(method: str, epochs: int) -> tuple[Spent, bool]:
    """What a method spends, and whether that is assumed: a table of scores, say, does not fit the toy."""
    try:
        return spent(method, epochs), False
    except (ValueError, TypeError, RuntimeError):
        return spent(FULL, epochs), True


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


def _clock(settings: Settings, n: int, timed: _Steps) -> _Clock:
    """Time steps of full training with whole and with smaller batches, and forwards."""
    torch.set_num_threads(settings.threads or 1)
    size = min(settings.batch_size, n)
    small = max(2, size // _SMALL)
    with rngstate.kept():
        whole = _median(lambda: timed.step(size))
        part = _median(lambda: timed.step(small))
        alone = _median(lambda: timed.forward(size)) / size
        save = 0.0 if timed.model is None else _saving(timed.model)
    sample = max(0.0, (whole - part) / (size - small)) if size > small else whole / size
    return _Clock(max(0.0, whole - sample * size), sample, alone, save)


def _steps(trainer: ImageTrainer | TextTrainer) -> _Steps:
    with rngstate.kept():
        if isinstance(trainer, LanguageTrainer):
            return _of_language(trainer)
        return _of_images(trainer) if isinstance(trainer, ImageTrainer) else _of_texts(trainer)


def _of_images(trainer: ImageTrainer) -> _Steps:
    """Steps on the first images: collating, augmenting, forward, backward, update."""
    settings, data = trainer.settings, trainer.data
    model = models.build(settings.model, data.channels, data.classes, data.side, seed=0)
    forward = Forward(model.to(settings.device or "cpu"), data, settings, proxy=False)

    def only_forward(size: int) -> None:
        with torch.no_grad():
            forward.logits(data.train_x[:size])

    return _Steps(lambda size: _step(forward, data, size), only_forward, model)


def _of_texts(trainer: TextTrainer) -> _Steps:
    """Steps on the first texts in the order of a run: padding, forward, backward, clipping, update."""
    from samplewise.bench.text.run import TextRun

    task = TextTask(FULL, parse(FULL), 0, trainer.data, trainer.encoder, trainer.settings)
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


def _of_language(trainer: LanguageTrainer) -> _Steps:
    """Steps on the first texts: filling up, forward, backward, clipping, update."""
    run = trainer.made(FULL)

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


def _median(call: Callable[[], None]) -> float:
    """The median seconds of a call, after one that does not count."""
    call()
    device, ends = torch.device("cpu"), time.monotonic() + _LONGEST
    found: list[float] = []
    while not found or (time.monotonic() < ends and len(found) < 30):
        begun = machine.clock(device)
        call()
        found.append(machine.clock(device) - begun)
    return sorted(found)[len(found) // 2]


def _resident() -> int:
    """Bytes that this process takes in memory."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
