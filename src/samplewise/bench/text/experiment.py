"""`Texts`: the fine-tunings of `samplewise train`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from samplewise import recipes
from samplewise.bench import coreset, experiment, rngstate
from samplewise.bench.altered import altered, drawn
from samplewise.bench.folder import RunFolder
from samplewise.bench.grouped import about_groups, divided, refuse_undivided
from samplewise.bench.settings import Settings
from samplewise.bench.study import timing
from samplewise.bench.text import data as texts
from samplewise.bench.text import encoder
from samplewise.bench.text.data import TextData
from samplewise.bench.text.encoder import Encoder
from samplewise.bench.text.run import TextRun
from samplewise.bench.text.task import TextTask, about, refuse_method

__all__ = ["Texts", "try_methods"]

_TRIED = 4
"""Rows of the step and of the test before the first run."""


@dataclass(frozen=True)
class Texts:
    """Fine-tunings of a text encoder by the Hugging Face Trainer.

    A run that was stopped starts again from its first epoch: only finished runs are kept.
    """

    def ready(self, settings: Settings) -> TextData:
        """Load the data and try every method."""
        torch.set_num_threads(settings.threads or torch.get_num_threads())
        found, made = texts.load(settings), encoder.find(settings.model, settings.max_length)
        refuse_undivided(found, settings)
        if wrong := try_methods(settings, altered(found, settings, 0), made):
            raise ValueError(next(iter(wrong.values())))
        return found

    def begin(self, folder: RunFolder, settings: Settings, data: TextData) -> None:
        """Start the folder, or check that it can be continued."""
        n, made = len(drawn(data, settings, 0)), encoder.find(settings.model, settings.max_length)
        said = about(data, n, texts.digest(data), made)
        experiment.begin(folder, settings, {**said, **about_groups(data, settings)})

    def clock(self, settings: Settings, data: TextData) -> timing.Clock:
        """Time a few steps on the first texts."""
        return timing.of_texts(settings, data, encoder.find(settings.model, settings.max_length))

    def task(self, method: str, policy: Any, seed: int, data: TextData, settings: Settings) -> TextTask:
        """The run of one method with its own settings."""
        own = experiment.with_strategy(method, policy, len(data), settings.of(method))
        return replace(self.scoring(method, policy, seed, data, own), stretch=own.epochs / settings.epochs)

    def scoring(self, method: str, policy: Any, seed: int, data: TextData, settings: Settings) -> TextTask:
        """The same with the settings that all methods share."""
        made = encoder.find(settings.model, settings.max_length)
        return TextTask(method, policy, seed, data, made, settings)

    def score(self, task: TextTask, checkpoint: Path, on_step: Callable[[float], None]) -> TextRun:
        """Do a scoring run."""
        return TextRun(task).score(on_step)

    def train(
        self,
        task: TextTask,
        checkpoint: Path,
        on_step: Callable[[float], None],
        on_epoch: Callable[[dict[str, Any]], None],
    ) -> TextRun:
        """Do a run."""
        return TextRun(task).train(on_step, on_epoch)

    def save(self, path: Path, run: TextRun) -> None:
        """Write model and tokenizer into a folder that transformers reads, named as `path` without .pt."""
        encoder.write_folder(path, run.model, run.task.encoder.tokenizer)


def try_methods(settings: Settings, data: TextData, made: Encoder) -> dict[str, str]:
    """Build every run, and do a step and a test with the encoder.

    Args:
        settings: with the methods.
        data: that the first seed trains on.
        made: the encoder.

    Returns:
        for each method that cannot run, the reason.

    Raises:
        ValueError: if the encoder cannot be trained on these data.
    """
    policies, wrong = divided(settings.policies(), data, settings), dict[str, str]()
    static = coreset.static_methods(settings)
    tiny = data.taking(torch.arange(min(_TRIED, len(data))))
    with rngstate.kept():
        plain = TextTask("full", recipes.full(), 0, tiny, made, settings)
        first = TextRun(plain)
        torch.autograd.backward(first.model(**first.first_rows(_TRIED)).loss)
        first.model.zero_grad()
        for name, policy in policies.items():
            try:
                refuse_method(name, policy, data)
                own = experiment.with_strategy(name, policy, len(data), settings.of(name))
                task = TextTask(name, policy, 0, data, made, own)
                if name in static:
                    task = coreset.scoring_task(task, {name: policy})
                elif settings.subset is not None and name == settings.names[-1]:
                    task = coreset.on_subset(task, coreset.given(settings))
                TextRun(task, first.model)
            except (ValueError, TypeError) as error:
                wrong[name] = str(error)
    return wrong
