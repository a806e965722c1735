"""`Languages`: the trainings of language models of `samplewise train` and `samplewise score`."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from samplewise import recipes
from samplewise.bench import coreset, experiment, rngstate
from samplewise.bench.altered import altered, drawn
from samplewise.bench.folder import RunFolder
from samplewise.bench.grouped import about_groups, divided, refuse_undivided
from samplewise.bench.language import data as language
from samplewise.bench.language.fits import sizes_of
from samplewise.bench.language.run import LanguageRun, LanguageTask, padded, refuse_method
from samplewise.bench.language.vocabulary import Vocabulary
from samplewise.bench.settings import Settings
from samplewise.bench.study import timing
from samplewise.bench.text import data as texts
from samplewise.bench.text.data import TextData
from samplewise.bench.text.encoder import write_folder

__all__ = ["Languages"]

_TRIED = 4
"""Rows of the step and of the test before the first run."""


class Languages:
    """Trainings of a language model from random weights.

    The vocabulary is made from the training split as it is read, once for all runs. A run that was stopped
    starts again from its first epoch: only finished runs are kept.
    """

    def __init__(self) -> None:
        self._made: Vocabulary | None = None

    def ready(self, settings: Settings) -> TextData:
        """Load the data and try every method."""
        torch.set_num_threads(settings.threads or torch.get_num_threads())
        data = language.load(settings)
        self._made = Vocabulary(data.train_x[:, 0].tolist(), sizes_of(settings.model).vocabulary)
        refuse_undivided(data, settings)
        with rngstate.kept():
            self._try(settings, altered(data, settings, 0))
        return data

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the training texts."""
        if self._made is None:
            raise RuntimeError("the vocabulary is made of the data. Call ready first.")
        return self._made

    def _try(self, settings: Settings, data: TextData) -> None:
        """Do a step and a test of the model on a few rows, and build the run of every method."""
        tiny = data.taking(torch.arange(min(_TRIED, len(data))))
        tiny = replace(tiny, test_x=tiny.test_x[:_TRIED], test_y=tiny.test_y[:_TRIED])
        first = LanguageRun(self.scoring("full", recipes.full(), 0, tiny, settings))
        first.train_step(next(iter(first.selector.loader(collate_fn=padded))), 0)
        first.evaluate()
        static = coreset.static_methods(settings)
        for name, policy in divided(settings.policies(), data, settings).items():
            refuse_method(name, policy, data)
            task = self.task(name, policy, 0, data, settings)
            if name in static:
                task = coreset.scoring_task(task, {name: policy})
            elif settings.subset is not None and name == settings.names[-1]:
                task = coreset.on_subset(task, coreset.given(settings))
            LanguageRun(task)

    def begin(self, folder: RunFolder, settings: Settings, data: TextData) -> None:
        """Start the folder, or check that it can be continued."""
        about = {
            "name": data.name,
            "train": len(drawn(data, settings, 0)),
            "test": len(data.test_y),
            "classes": data.classes,
            "metric": "loss",
            "texts": 1,
            "class_names": list(data.class_names),
            "test_split": data.test_split,
            "sha256": texts.digest(data),
            "model": asdict(sizes_of(settings.model)),
            "vocabulary": self.vocabulary.digest,
        }
        experiment.begin(folder, settings, about | about_groups(data, settings))

    def clock(self, settings: Settings, data: TextData) -> timing.Clock:
        """Time a few steps on the first texts."""
        run = LanguageRun(self.scoring("full", recipes.full(), 0, data, settings))
        return timing.of_language(settings, len(data), run)

    def task(self, method: str, policy: Any, seed: int, data: TextData, settings: Settings) -> LanguageTask:
        """The run of one method with its own settings."""
        own = experiment.with_strategy(method, policy, len(data), settings.of(method))
        return replace(self.scoring(method, policy, seed, data, own), stretch=own.epochs / settings.epochs)

    def scoring(
        self, method: str, policy: Any, seed: int, data: TextData, settings: Settings
    ) -> LanguageTask:
        """The same with the settings that all methods share."""
        return LanguageTask(method, policy, seed, data, self.vocabulary, settings)

    def score(self, task: LanguageTask, checkpoint: Path, on_step: Callable[[float], None]) -> LanguageRun:
        """Do a scoring run."""
        return LanguageRun(task).score(on_step)

    def train(
        self,
        task: LanguageTask,
        checkpoint: Path,
        on_step: Callable[[float], None],
        on_epoch: Callable[[dict[str, Any]], None],
    ) -> LanguageRun:
        """Do a run."""
        return LanguageRun(task).train(on_step, on_epoch)

    def save(self, path: Path, run: LanguageRun) -> None:
        """Write model and tokenizer into a folder that transformers reads, named as `path` without .pt."""
        write_folder(path, run.model, self.vocabulary.tokenizer(run.task.settings.max_length))
