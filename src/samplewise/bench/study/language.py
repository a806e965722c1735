"""`LanguageTrainer`: the runs of a study that train a language model from random weights."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from samplewise.bench import coreset, rngstate
from samplewise.bench.altered import altered
from samplewise.bench.language import data as language
from samplewise.bench.language.fits import sizes_of
from samplewise.bench.language.run import LanguageRun, LanguageTask, metrics_of, padded, refuse_method
from samplewise.bench.language.vocabulary import Vocabulary
from samplewise.bench.settings import Settings
from samplewise.bench.study.images import NOT_DECIDING, TASK_SETTINGS
from samplewise.bench.study.jobs import FULL, Job
from samplewise.bench.study.single import of_job
from samplewise.bench.study.text import TextTrainer
from samplewise.bench.text import data as texts
from samplewise.bench.text.data import TextData
from samplewise.bench.text.encoder import write_folder

__all__ = ["LANGUAGE_TRAINING", "LanguageTrainer"]

LANGUAGE_TRAINING = 1
"""Version of the training. Raise it when the same settings give other results than before."""
_COVERED = ("model", "text_column")
"""Settings that the sizes of the model and the digest of the data cover."""


@dataclass(frozen=True)
class LanguageTrainer(TextTrainer):
    """Trains a language model on the texts of the study.

    The vocabulary is made from the training split, without what is held out, once for all runs. A run that
    was stopped starts again from its first epoch.
    """

    @cached_property
    def data(self) -> TextData:
        """The data with their validation split."""
        return texts.held_out(language.load(self.settings), self.validation)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the training texts."""
        return Vocabulary(self.data.train_x[:, 0].tolist(), sizes_of(self.settings.model).vocabulary)

    def task(self) -> dict[str, Any]:
        """Settings that are not defaults, sizes, the digests of data and vocabulary, and a version."""
        given, default = asdict(self.settings), asdict(Settings.made(model=self.settings.model).resolved())
        names = [n for n in TASK_SETTINGS if n not in (*NOT_DECIDING, *_COVERED) and given[n] != default[n]]
        return {
            "settings": {name: given[name] for name in names},
            "model": asdict(sizes_of(self.settings.model)),
            "data": texts.digest(self.data),
            "vocabulary": self.vocabulary.digest,
            "validation": self.validation,
            "best_by": self._by,
            "language_training": LANGUAGE_TRAINING,
        }

    def metrics(self) -> tuple[str, ...]:
        """The loss per token, and that of each source."""
        return metrics_of(self.data)

    def check(self, methods: Sequence[str]) -> None:
        """Build every method's run, and do a step and a test with the model.

        Raises:
            ValueError: if one cannot run. The error names each of these methods.
        """
        torch.set_num_threads(self.settings.threads or 1)
        wrong = {}
        with rngstate.kept():
            for method in (FULL, *methods):
                try:
                    self._try(method)
                except (ValueError, TypeError) as error:
                    if method == FULL:
                        raise
                    wrong[method] = str(error)
        if wrong:
            said = " ".join(f"{method}: {why}" for method, why in wrong.items())
            raise ValueError(f"{len(wrong)} of {len(methods)} methods cannot run here. {said}")

    def made(self, method: str) -> LanguageRun:
        """The run of a method with the first seed; of a static one its scoring run."""
        job, data = Job(method, self.settings.epochs, 0), altered(self.data, self.settings, 0)
        alone, own, policy = of_job(self.settings, job, len(data))
        refuse_method(method, policy, data)
        task = self._task(job, policy, data, own)
        if static := coreset.static_methods(alone):
            task = coreset.scoring_task(task, static)
        return self._made(task)

    def _try(self, method: str) -> None:
        made = self.made(method)
        if method == FULL:
            made.train_step(next(iter(made.selector.loader(collate_fn=padded))), 0)
            made.evaluate("validation")

    def _task(self, job: Job, policy: Any, data: TextData, own: Settings) -> LanguageTask:
        return LanguageTask(job.method, policy, job.seed, data, self.vocabulary, own, best_by=self._by)

    def _made(self, task: LanguageTask) -> LanguageRun:
        return LanguageRun(task)

    def _save(self, path: Path, run: LanguageRun) -> None:
        """A folder that transformers reads, with the tokenizer, named as `path` without .pt."""
        write_folder(path, run.model, self.vocabulary.tokenizer(self.settings.max_length))
