"""What a command trains, by the model."""

from samplewise.bench import experiment
from samplewise.bench.kinds import Kind
from samplewise.bench.language.experiment import Languages
from samplewise.bench.language.fits import is_language
from samplewise.bench.settings import Settings
from samplewise.bench.text.fits import is_text
from samplewise.checks import require

__all__ = ["kind_of"]


def kind_of(settings: Settings) -> Kind:
    """What is trained, by the model."""
    if not is_text(settings.model) and not is_language(settings.model):
        return experiment.Images()
    require("transformers", "transformers")
    if is_language(settings.model):
        return Languages()
    from samplewise.bench.text.experiment import Texts

    return Texts()
