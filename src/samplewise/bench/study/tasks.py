"""The task of a study file: which trainer it has, and where its data and its encoder lie."""

from pathlib import Path

from samplewise.bench.language.fits import is_language
from samplewise.bench.settings import Settings
from samplewise.bench.study.images import ImageTrainer
from samplewise.bench.study.language import LanguageTrainer
from samplewise.bench.study.text import TextTrainer
from samplewise.bench.text.fits import PREFIX, is_text

__all__ = ["encoder_beside", "source_of", "trainer_of"]


def trainer_of(
    settings: Settings,
    share: float,
    work: Path,
    methods: tuple[str, ...],
    by: str | None,
    models: Path | None,
) -> ImageTrainer | TextTrainer:
    """The trainer of a study file, by its model."""
    for chosen, made in ((is_text, TextTrainer), (is_language, LanguageTrainer)):
        if chosen(settings.model):
            return made(settings, share, work, methods, by, models)
    return ImageTrainer(settings, share, work, methods, by or "accuracy", models)


def encoder_beside(study: Path, model: str) -> str:
    """The name of the model: the folder of an encoder in a study file is relative to the file."""
    here = study.parent / model.removeprefix(PREFIX)
    return f"{PREFIX}{here}" if is_text(model) and here.is_dir() else model


def source_of(study: Path, written: str, given: str | None) -> str:
    """The source of the data.

    Args:
        study: the file. A path in it is relative to it, or else to the current folder.
        written: in the file.
        given: in its place, or a folder that holds it; None if the file decides.
    """
    named = written == "digits" or written.startswith("hf:")
    if given is not None:
        inside = Path(given) / written
        return str(inside) if not named and inside.exists() else given
    here = study.parent / written
    return str(here) if not named and here.exists() else written
