"""`samplewise advise`: what each method would cost on the data and the model of the command line."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from samplewise import recipes
from samplewise.advice.advising import advise
from samplewise.advice.result import Advice
from samplewise.bench import augment, experiment, rngstate
from samplewise.bench.altered import altered
from samplewise.bench.settings import Settings
from samplewise.bench.train import Run, Task, collate

__all__ = ["of_images"]


def of_images(settings: Settings, methods: Sequence[str] | None, at: str | None, seconds: float) -> Advice:
    """Measure a run of the command line, and predict every method.

    Args:
        settings: complete.
        methods: as on the command line; None: all with their defaults.
        at: the module at which cheap scoring ends; None: the first that can be used.
        seconds: for all of it.
    """
    torch.set_num_threads(settings.threads or torch.get_num_threads())
    data = altered(experiment.load_data(settings), settings, 0)
    with rngstate.kept():
        run = Run(Task("full", recipes.full(), 0, data, settings))
        run.prepare()
        return advise(
            run.forward,
            run.model,
            run.selector.dataset,
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            optimizer=run.optimizer,
            labels=data.train_y,
            methods=methods,
            at=at,
            seconds=seconds,
            collate_fn=_augmented if settings.augment else collate,
            num_workers=settings.workers,
        )


def _augmented(samples: list[tuple[Any, int]]) -> tuple[Tensor, Tensor]:
    """A batch with crops and flips."""
    images, labels = collate(samples)
    return augment.crop_and_flip(images, 0, 0, 0), labels
