"""`ImageTrainer`: the runs of a study with the training of `samplewise train`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import torch

from samplewise.bench import coreset, experiment, files, machine, rngstate
from samplewise.bench.altered import altered
from samplewise.bench.data import ImageData, held_out
from samplewise.bench.folder import RunFolder
from samplewise.bench.saved import save_model
from samplewise.bench.settings import Settings
from samplewise.bench.study.jobs import FULL, TRAINING, Job, canonical, digest
from samplewise.bench.study.trainer import OnStep
from samplewise.bench.train import TOP, Run, Task, train
from samplewise.subset import Subset

__all__ = ["TASK_SETTINGS", "ImageTrainer"]

_NOT_OF_A_TASK = ("method", "seeds", "subset", "fit", "combine", "epochs", "history")
TASK_SETTINGS = tuple(field.name for field in fields(Settings) if field.name not in _NOT_OF_A_TASK)
"""The settings that the table [task] of a study file may have, beside epochs."""
_NOT_DECIDING = ("data", "image_column", "label_column", "size", "limit", "device", "workers", "threads")
"""Settings that the digest of the data covers, or that decide no result."""


@dataclass(frozen=True)
class ImageTrainer:
    """Trains a model of the command on its data.

    Args:
        settings: of the task; `epochs` are those of full training.
        validation: the share of the training data that is held out.
        work: a folder for checkpoints, and for coresets of static methods.
        methods: all methods of the study. Those that share a scoring run are found among them.
        best_by: the result that chooses the best epoch on the validation split.
        models: a folder where every run keeps its trained model.
    """

    settings: Settings
    validation: float
    work: Path
    methods: tuple[str, ...] = ()
    best_by: str = "accuracy"
    models: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Every process reads the data itself: that is faster than sending them.
        return {key: value for key, value in vars(self).items() if key != "data"}

    @cached_property
    def data(self) -> ImageData:
        """The data with their validation split."""
        return held_out(experiment.load_data(self.settings), self.validation)

    @cached_property
    def task_digest(self) -> str:
        """The digest of the task."""
        return digest(self.task())

    def task(self) -> dict[str, Any]:
        """The settings that are not defaults, the digest of the data, and the version of the training."""
        given, default = asdict(self.settings), asdict(Settings().resolved())
        decisive = [n for n in TASK_SETTINGS if n not in _NOT_DECIDING and given[n] != default[n]]
        return {
            "settings": {name: given[name] for name in decisive},
            "data": experiment.digest(self.data),
            "validation": self.validation,
            "best_by": self.best_by,
            "training": TRAINING,
        }

    def metrics(self) -> tuple[str, ...]:
        """Accuracies in percent, mean loss in nats. Top-5 accuracy needs more than 5 classes."""
        return ("accuracy", "loss", "worst_class", "top5_accuracy")

    def check(self, methods: Sequence[str]) -> None:
        """Build every method's run and do a few steps with the model.

        Raises:
            ValueError: if one cannot run. The error names each of these methods.
        """
        if self.best_by == "top5_accuracy" and self.data.classes <= TOP:
            raise ValueError(
                f"metric top5_accuracy must have more than {TOP} classes, got {self.data.classes} in "
                f"{self.settings.data}. Choose accuracy, loss or worst_class."
            )
        wrong = []
        for method in (FULL, *methods):
            settings = replace(self.settings, method=(method,), seeds=1)
            try:
                with rngstate.kept():
                    experiment.warm_up(settings, self.data)
            except (ValueError, TypeError) as error:
                if method == FULL:
                    raise
                wrong.append(f"{method}: {error}")
        if wrong:
            raise ValueError(f"{len(wrong)} of {len(methods)} methods cannot run here. {' '.join(wrong)}")

    def run(self, job: Job, on_step: OnStep) -> dict[str, Any]:
        """Do or continue a training."""
        torch.set_num_threads(self.settings.threads or 1)
        alone = replace(self.settings, method=(job.method,), seeds=1)
        own = replace(alone.of(job.method), epochs=job.epochs)
        own = replace(own, lr=(own.lr or 0.0) * job.lr)
        data = altered(self.data, self.settings, job.seed)
        policy = alone.policies()[job.method]
        own = experiment.with_strategy(job.method, policy, len(data), own)
        task = Task(job.method, policy, job.seed, data, own, best_by=self.best_by)
        self.work.mkdir(parents=True, exist_ok=True)
        with rngstate.kept():
            scoring = 0.0
            if coreset.static_methods(alone):
                task, scoring = self._on_coreset(task)
            done = train(task, self.checkpoint(job), on_step)
            if self.models is not None:
                whole = job.epochs == self.settings.epochs
                named = job.method if whole else f"{job.method}-{job.epochs}-epochs"
                save_model(RunFolder(self.models).model(named, job.seed), done.model, own.model, data)
            return _row(done, scoring, self.settings.device or "cpu")

    def _on_coreset(self, task: Task) -> tuple[Task, float]:
        """The task on the coreset that a scoring run chose, and the CPU seconds of that run.

        A method at several keeps has one scoring run, which is found in the work folder the next time. It
        trains with the study's settings, and not with those of the method's own run.
        """
        shared = replace(self.settings, method=self.methods, seeds=1)
        static = coreset.static_methods(shared)
        leads = coreset.leaders(static)
        if task.method in leads:
            static = {name: p for name, p in static.items() if leads.get(name) == leads[task.method]}
        key = digest([self.task_digest, *sorted(map(str, map(canonical, static))), task.seed])
        folder = self.work / f"scoring-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        done = folder / "seconds.json"
        with filelock.FileLock(folder / ".lock"):
            if not done.exists():
                checkpoint = folder / "checkpoint.pt"
                run = coreset.score(coreset.scoring_task(replace(task, settings=shared), static), checkpoint)
                for name, subset in coreset.subsets(run, static, shared).items():
                    subset.to_parquet(folder / f"{digest(canonical(name))}.parquet")
                files.write_json(done, {"cpu": run.cpu})
                checkpoint.unlink(missing_ok=True)
            seconds = float(json.loads(done.read_text())["cpu"])
        subset = Subset.read(folder / f"{digest(canonical(task.method))}.parquet")
        return coreset.on_subset(task, subset), seconds if task.method in leads else 0.0

    def checkpoint(self, job: Job) -> Path:
        """The state of an unfinished run."""
        return self.work / f"{job.key(self.task_digest)}.pt"

    def finished(self, job: Job) -> None:
        """Remove the checkpoint."""
        self.checkpoint(job).unlink(missing_ok=True)


def _row(run: Run, scoring: float, device: str) -> dict[str, Any]:
    """The row of a finished run. The model is tested as it is, and as it was after its best epoch.

    Args:
        run: the finished run.
        scoring: seconds of its scoring run.
        device: where it trained.
    """
    curve, best, clock = run.curve, run.best, "cpu_seconds"
    if best is None:
        raise ValueError("a study needs data with a validation split.")
    judged = f"validation_{run.task.best_by}"
    ledger, last = run.selector.ledger, curve[-1]
    row = {
        "n": len(run.task.data),
        "batch_size": run.task.settings.batch_size,
        "cost": ledger.cost,
        "cost_without_scoring": ledger.cost_without_scoring,
        "seconds": last[clock] + scoring,
        "seconds_without_scoring": last[clock],
        "wall": ledger.wall,
        "overhead": ledger.overhead,
        "samples_backpropagated": ledger.samples_backpropagated,
        "validation": run.evaluate("validation"),
        "test": run.evaluate("test"),
        "curve": [
            [point["epoch"], point["cost"], point[clock] + scoring, point[judged]]
            for point in curve
            if judged in point
        ],
        "machine": machine.machine(device) | machine.versions(),
    }
    chosen = next(point for point in curve if point["epoch"] == best.epoch)
    if best.epoch != last["epoch"]:
        run.model.load_state_dict(best.weights)
    row["best"] = {
        "epoch": best.epoch,
        "cost": chosen["cost"],
        "seconds": chosen[clock] + scoring,
        "validation": best.found,
        "test": row["test"] if best.epoch == last["epoch"] else run.evaluate("test"),
    }
    return row
