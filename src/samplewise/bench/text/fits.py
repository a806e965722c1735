"""Which settings make a fine-tuning of a text encoder, its defaults, and settings that do not fit."""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["FINE_TUNING_LR", "PREFIX", "defaults", "is_text", "refuse_unfit"]

PREFIX = "hf:"
"""What the name of a text encoder begins with, in `--model`."""
_DEFAULTS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 32,
    "optimizer": "adamw",
    "weight_decay": 0.01,
}
_SCHEDULE: dict[str, Any] = {"schedule": "polynomial", "warmup": 0.06}
FINE_TUNING_LR = {"adamw": 5e-5}
"""The learning rates of a fine-tuning that differ from those of a training from random weights."""
_FIRST = "A fine-tuning of a text encoder"
_IMAGES = ("image_column", "size", "augment", "image_corruption")
_NOT_YET = {
    "history": "The Trainer keeps no history of selections",
    "score_model": "The encoder scores",
}
_TEXT = ("text_column", "max_length", "targets")


def is_text(model: str) -> bool:
    """Whether a model is a text encoder.

    >>> is_text("hf:encoder"), is_text("cnn")
    (True, False)
    """
    return model.startswith(PREFIX)


def defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a fine-tuning that differ from those of images; nothing for an image model.

    The learning rate rises linearly for 6 % of the run and then falls linearly to 0.

    Args:
        given: the settings that the user gave. With a schedule of its own, its own warm-up holds.

    >>> defaults({"model": "cnn"}), defaults({"model": "hf:encoder", "schedule": "cosine"})["epochs"]
    ({}, 3)
    """
    model = given.get("model")
    if not isinstance(model, str) or not is_text(model):
        return {}
    return _DEFAULTS | ({} if "schedule" in given else _SCHEDULE)


def refuse_unfit(settings: Any) -> None:
    """Raise for the first setting that has no meaning for this kind of model.

    Args:
        settings: `bench.settings.Settings`.

    Raises:
        ValueError: for a setting of images with a text encoder, or the other way around.
    """
    default = type(settings)()
    changed = [name for name in vars(default) if getattr(settings, name) != getattr(default, name)]
    options = {name: f"--{name.replace('_', '-')}" for name in changed}
    kind, of_other = ("images", ("half", "scorer")) if is_text(settings.model) else ("texts", ("first",))
    for name in re.findall(r"\w+", settings.scoring or ""):
        if name in of_other:
            raise ValueError(f"--scoring {name} needs {kind}, got --model {settings.model}. Leave it out.")
    if not is_text(settings.model):
        for name in _TEXT:
            if name in changed:
                raise ValueError(
                    f"{options[name]} needs a text encoder, got --model {settings.model}. Use --model "
                    f"{PREFIX}PATH, or leave {options[name]} out."
                )
        return
    for name in changed:
        if name in _IMAGES:
            raise ValueError(f"{options[name]} needs images. {_FIRST} takes texts. Leave it out.")
        if name in _NOT_YET:
            raise ValueError(f"{options[name]} cannot be used here. {_NOT_YET[name]}. Leave it out.")
    if settings.schedule == "torch_onecycle":
        raise ValueError(
            f"--schedule torch_onecycle moves the momentum, which the Trainer keeps. {_FIRST} takes any "
            "other schedule, such as onecycle."
        )
    if settings.device not in (None, "cpu", "cuda"):
        raise ValueError(
            f"--device must be cpu or cuda for a text encoder, got {settings.device}: the Trainer chooses "
            "the first device. Set CUDA_VISIBLE_DEVICES to choose another."
        )
