"""`ImageTrainer`: the runs of a study with the training of `samplewise train`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from samplewise.bench import coreset, experiment, rngstate
from samplewise.bench.altered import altered
from samplewise.bench.data import ImageData, held_out
from samplewise.bench.folder import RunFolder
from samplewise.bench.saved import save_model
from samplewise.bench.settings import Settings
from samplewise.bench.study.coresets import on_coreset
from samplewise.bench.study.jobs import FULL, TRAINING, Job, digest
from samplewise.bench.study.row import row_of
from samplewise.bench.study.single import model_name, of_job
from samplewise.bench.study.trainer import OnStep
from samplewise.bench.train import TOP, Task, train

__all__ = ["NOT_DECIDING", "TASK_SETTINGS", "ImageTrainer"]

_NOT_OF_A_TASK = (
    *("method", "seeds", "subset", "fit", "combine", "epochs", "history", "gate", "groups", "shares"),
)
TASK_SETTINGS = tuple(field.name for field in fields(Settings) if field.name not in _NOT_OF_A_TASK)
"""The settings that the table [task] of a study file may have, beside epochs."""
NOT_DECIDING = ("data", "image_column", "label_column", "size", "limit", "device", "workers", "threads")
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
        decisive = [n for n in TASK_SETTINGS if n not in NOT_DECIDING and given[n] != default[n]]
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
        data = altered(self.data, self.settings, job.seed)
        alone, own, policy = of_job(self.settings, job, len(data))
        task = Task(job.method, policy, job.seed, data, own, best_by=self.best_by)
        self.work.mkdir(parents=True, exist_ok=True)
        with rngstate.kept():
            scoring = 0.0
            if coreset.static_methods(alone):
                task, scoring = self._on_coreset(task)
            done = train(task, self.checkpoint(job), on_step)
            if self.models is not None:
                save_model(
                    RunFolder(self.models).model(model_name(self.settings, job), job.seed),
                    done.model,
                    own.model,
                    data,
                )
            return row_of(done, scoring, self.settings.device or "cpu")

    def _on_coreset(self, task: Task) -> tuple[Task, float]:
        """The task on the coreset that a scoring run chose, and the CPU seconds of that run."""
        shared = replace(self.settings, method=self.methods, seeds=1)
        return on_coreset(task, shared, self.task_digest, self.work, coreset.score)

    def checkpoint(self, job: Job) -> Path:
        """The state of an unfinished run."""
        return self.work / f"{job.key(self.task_digest)}.pt"

    def finished(self, job: Job) -> None:
        """Remove the checkpoint."""
        self.checkpoint(job).unlink(missing_ok=True)
