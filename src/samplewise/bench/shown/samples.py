"""How the samples of a run are shown: out of its data, or out of those that the user names."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from samplewise.bench import experiment
from samplewise.bench.altered import altered
from samplewise.bench.language import data as language
from samplewise.bench.language.fits import is_language
from samplewise.bench.settings import Settings
from samplewise.html.facts import Picture
from samplewise.html.pictures import picture

__all__ = ["shown"]

_ENCODER = "hf:"
"""With a model of this kind the data are texts."""


def shown(
    settings: Settings, seed: int, n: int, data: str | None
) -> Callable[[Sequence[int]], list[Picture]]:
    """What gives the pictures of training samples by their ids.

    Args:
        settings: of the run.
        seed: of the run, which decides which samples there are.
        n: samples of the run.
        data: the data as for `--data`; None: those of the run.

    Raises:
        ValueError: if the data cannot be read, or are others.
        OSError: if a file cannot be read.
    """
    if data is not None:
        settings = replace(settings, data=data)
    found = altered(_loaded(settings), settings, seed)
    if len(found) != n:
        raise ValueError(f"{settings.data} has {len(found):,} training samples, but the run has {n:,}")
    samples = found.train_x

    def show(ids: Sequence[int]) -> list[Picture]:
        return [picture(samples[i]) for i in ids]

    return show


def _loaded(settings: Settings) -> Any:
    if is_language(settings.model):
        return language.load(settings)
    if settings.model.startswith(_ENCODER):
        from samplewise.bench.text import data as texts

        return texts.load(settings)
    return experiment.load_data(settings)
