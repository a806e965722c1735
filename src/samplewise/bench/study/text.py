"""`TextTrainer`: the runs of a study that fine-tune a text encoder with the Hugging Face Trainer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from samplewise.bench import coreset
from samplewise.bench.altered import altered
from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import Settings
from samplewise.bench.study.coresets import on_coreset
from samplewise.bench.study.images import NOT_DECIDING, TASK_SETTINGS
from samplewise.bench.study.jobs import FULL, Job, digest
from samplewise.bench.study.row import row_of
from samplewise.bench.study.single import model_name, of_job
from samplewise.bench.study.trainer import OnStep
from samplewise.bench.text import data as texts
from samplewise.bench.text import encoder
from samplewise.bench.text.data import TextData
from samplewise.bench.text.encoder import Encoder
from samplewise.bench.text.task import TextTask, metrics_of

__all__ = ["TEXT_TRAINING", "TextTrainer"]

TEXT_TRAINING = 1
"""Version of the fine-tuning. Raise it when the same settings give other results than before."""
_COVERED = ("model", "text_column", "targets")
"""Settings that the digests of the data and of the encoder cover."""
_OF_ITS_OWN = ("data", "encoder", "vocabulary")
"""What every process makes itself."""


@dataclass(frozen=True)
class TextTrainer:
    """Fine-tunes a text encoder on the study's data.

    A run that was stopped starts again from its first epoch: a kill loses the runs under way and no others.

    Args:
        settings: of the task; `epochs` are those of full training.
        validation: the share of the training data that is held out.
        work: a folder for coresets of static methods.
        methods: all methods of the study. Those that share a scoring run are found among them.
        best_by: the result that chooses the best epoch on the validation split. None means the first of
            `metrics`.
        models: a folder where every run keeps its trained model.
    """

    settings: Settings
    validation: float
    work: Path
    methods: tuple[str, ...] = ()
    best_by: str | None = None
    models: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Every process reads data and encoder itself: that is faster than sending them.
        return {key: value for key, value in vars(self).items() if key not in _OF_ITS_OWN}

    @cached_property
    def data(self) -> TextData:
        """The data with their validation split."""
        return texts.held_out(texts.load(self.settings), self.validation)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder."""
        return encoder.find(self.settings.model, self.settings.max_length)

    @cached_property
    def task_digest(self) -> str:
        """The digest of the task."""
        return digest(self.task())

    def task(self) -> dict[str, Any]:
        """Settings that are not the defaults of a fine-tuning, the digests of data and encoder, a version."""
        given, default = asdict(self.settings), asdict(Settings.made(model=self.settings.model).resolved())
        names = [n for n in TASK_SETTINGS if n not in (*NOT_DECIDING, *_COVERED) and given[n] != default[n]]
        return {
            "settings": {name: given[name] for name in names},
            "data": texts.digest(self.data),
            "encoder": self.encoder.digest,
            "validation": self.validation,
            "best_by": self._by,
            "fine_tuning": TEXT_TRAINING,
        }

    @property
    def _by(self) -> str:
        return self.best_by or self.metrics()[0]

    def metrics(self) -> tuple[str, ...]:
        """Those of a classification or of a regression, which the labels decide."""
        return metrics_of(self.data)

    def check(self, methods: Sequence[str]) -> None:
        """Build every method's run and do a step with the encoder.

        Raises:
            ValueError: if one cannot run. The error names each of these methods.
        """
        from samplewise.bench.text.experiment import try_methods

        torch.set_num_threads(self.settings.threads or 1)
        settings = replace(self.settings, method=(FULL, *methods), seeds=1)
        wrong = try_methods(settings, altered(self.data, settings, 0), self.encoder)
        if wrong:
            said = " ".join(f"{method}: {why}" for method, why in wrong.items())
            raise ValueError(f"{len(wrong)} of {len(methods)} methods cannot run here. {said}")

    def run(self, job: Job, on_step: OnStep) -> dict[str, Any]:
        """Do a fine-tuning."""
        torch.set_num_threads(self.settings.threads or 1)
        data = altered(self.data, self.settings, job.seed)
        alone, own, policy = of_job(self.settings, job, len(data))
        task = self._task(job, policy, data, own)
        scoring = 0.0
        if coreset.static_methods(alone):
            shared = replace(self.settings, method=self.methods, seeds=1)
            task, scoring = on_coreset(
                task, shared, self.task_digest, self.work, lambda scored, _: self._made(scored).score()
            )
        done = self._made(task).train(on_step)
        if self.models is not None:
            self._save(RunFolder(self.models).model(model_name(self.settings, job), job.seed), done)
        return row_of(done, scoring, self.settings.device or "cpu")

    def _task(self, job: Job, policy: Any, data: TextData, own: Settings) -> Any:
        """The definition of a run."""
        return TextTask(job.method, policy, job.seed, data, self.encoder, own, best_by=self._by)

    def _made(self, task: Any) -> Any:
        """A run that can be done."""
        from samplewise.bench.text.run import TextRun

        return TextRun(task)

    def _save(self, path: Path, run: Any) -> None:
        """Keep the trained model of a run."""
        from samplewise.bench.text.experiment import Texts

        Texts().save(path, run)

    def finished(self, job: Job) -> None:
        """Nothing is left behind."""
