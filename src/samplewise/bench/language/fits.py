"""Which settings make a language model, its sizes and defaults, and settings that do not fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from samplewise.checks import Range, checked, nearest
from samplewise.coresets.parse import items

__all__ = ["LANGUAGE_LR", "Sizes", "defaults", "is_language", "refuse_unfit", "sizes_of"]

_NAME = "llama"
_FORM = "llama:width=128,layers=4"
LANGUAGE_LR = {"adamw": 2e-3}
"""The learning rates of a language model that differ from those of other models."""
_DEFAULTS: dict[str, Any] = {
    "batch_size": 32,
    "optimizer": "adamw",
    "weight_decay": 0.1,
}
_SCHEDULE: dict[str, Any] = {"schedule": "polynomial", "warmup": 0.06}
_WITHOUT_MEANING = {
    **dict.fromkeys(("image_column", "size", "augment", "image_corruption"), "It takes texts and no images"),
    **dict.fromkeys(("label_noise", "label_smoothing", "targets"), "It predicts tokens and no labels"),
    "history": "A run keeps no history of selections",
    "score_model": "The model scores itself",
    "scoring": "A score is a forward of the whole model",
}


@checked
@dataclass(frozen=True)
class Sizes:
    """The sizes of a transformer in the form of Llama: RMSNorm, rotary positions, SwiGLU, causal attention.

    Args:
        width: of the hidden states.
        layers: number of blocks.
        heads: of the attention. The width is divided among them, in even parts.
        inner: width inside the feed-forward part; None: 8/3 of the width, rounded up to a multiple of 8.
        vocabulary: number of tokens, the 256 bytes and the end of a text among them.
    """

    width: Annotated[int, Range(4)] = 128
    layers: Annotated[int, Range(1)] = 4
    heads: Annotated[int, Range(1)] = 4
    inner: Annotated[int | None, Range(1)] = None
    vocabulary: Annotated[int, Range(258, 2**20)] = 2048

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"Sizes.width must be a multiple of twice the heads, got {self.width} and {self.heads} "
                "heads: rotary positions turn pairs of numbers of a head."
            )

    @property
    def feed_forward(self) -> int:
        """The width inside the feed-forward part.

        >>> Sizes(width=128).feed_forward
        344
        """
        return -(-8 * self.width // 24) * 8 if self.inner is None else self.inner


def is_language(model: str) -> bool:
    """Whether a model is a language model of the command. `llama:function` is a function of a module.

    >>> is_language("llama"), is_language("llama:width=64"), is_language("llama:function")
    (True, True, False)
    """
    name, colon, written = model.partition(":")
    return name == _NAME and (not colon or "=" in written)


def sizes_of(model: str) -> Sizes:
    """The sizes in the name of a language model.

    Raises:
        ValueError: for a size that is unknown, given twice or cannot be.

    >>> sizes_of("llama:width=64,layers=2").layers
    2
    """
    given: dict[str, Any] = {}
    known = tuple(Sizes.__dataclass_fields__)
    for key, value in items(model.partition(":")[2], f"--model {model}", _FORM):
        if key not in known:
            raise ValueError(f"--model {model:.100} has an unknown size {key!r}.{nearest(key, known)}")
        if key in given:
            raise ValueError(f"--model {model:.100}: {key} is given twice. Give it once.")
        given[key] = value
    try:
        return Sizes(**given)
    except ValueError as error:
        raise ValueError(f"--model {model:.100}: {str(error).replace('Sizes.', '')}") from None


def defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a language model that differ from those of images; nothing for another model.

    Args:
        given: the settings that the user gave. With a schedule of its own, its own warm-up holds.

    >>> defaults({"model": "cnn"}), defaults({"model": "llama"})["batch_size"]
    ({}, 32)
    """
    model = given.get("model")
    if not isinstance(model, str) or not is_language(model):
        return {}
    return _DEFAULTS | ({} if "schedule" in given else _SCHEDULE)


def refuse_unfit(settings: Any) -> None:
    """Raise for the first setting that has no meaning for a language model, and for sizes that cannot be.

    Args:
        settings: `bench.settings.Settings`.
    """
    sizes_of(settings.model)
    default = type(settings)()
    for name, why in _WITHOUT_MEANING.items():
        if getattr(settings, name) != getattr(default, name):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} cannot be used with --model {settings.model}. {why}. Leave it out.")
    if len(settings.text_column) > 1:
        raise ValueError(
            f"--text-column must name one column for --model {settings.model}, got "
            f"{', '.join(settings.text_column)}."
        )
