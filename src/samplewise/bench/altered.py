"""The training data of one seed: the drawn classes, the wrong labels and the corrupted images."""

from typing import Any, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from samplewise import rng
from samplewise.bench import protocols
from samplewise.bench.data import ImageData
from samplewise.bench.protocols.noise import noisy_ids
from samplewise.bench.settings import Settings
from samplewise.bench.text.data import TextData

__all__ = ["altered", "described", "drawn", "noise_note", "wrong_labels"]

Data = TypeVar("Data", ImageData, TextData)


def altered(data: Data, settings: Settings, seed: int) -> Data:
    """The data with the changes of the settings to the training split, the same for every method of a seed.

    First `imbalance` or `per_class` draws samples, then `label_noise` makes labels wrong, then
    `image_corruption` spoils images. The number of samples does not depend on the seed. The test and
    validation splits do not change.

    Raises:
        ValueError: if a change does not fit the data. The error names the option.
    """
    data = drawn(data, settings, seed)
    if settings.label_noise:
        corrupt = protocols.NOISES[settings.noise]
        noise = _noise(seed)
        data = data.relabelled(corrupt(data.train_y, settings.label_noise, data.classes, noise).labels)
    if not settings.image_corruption or isinstance(data, TextData):
        return data
    _refuse_uncorruptible(data)
    kinds = protocols.CORRUPTIONS[1:] if settings.corruption == "all" else (settings.corruption,)
    share = settings.image_corruption / len(kinds)
    spoilt = protocols.corrupt_images(data.train_x, rng.generator(seed, "corruption"), share, kinds=kinds)
    return data.trained_on(spoilt.images, data.train_y)


def wrong_labels(n: int, rate: float, seed: int) -> Bool[Tensor, " n"]:
    """Which of n training samples `altered` gives a wrong label.

    >>> wrong_labels(5, 0.4, seed=0).sum()
    tensor(2)
    """
    wrong = torch.zeros(n, dtype=torch.bool)
    wrong[noisy_ids(n, rate, _noise(seed))] = True
    return wrong


def noise_note(settings: Settings, seed: int) -> dict[str, Any]:
    """What the provenance of a table says of the wrong labels it was made with; empty without any."""
    if not settings.label_noise:
        return {}
    return {"label_noise": {"share": settings.label_noise, "kind": settings.noise, "seed": seed}}


def described(settings: Settings) -> str:
    """What is changed or divided, for titles: begins with a comma, or is empty."""
    parts = [
        f"{settings.per_class:,} of each class" if settings.per_class else "",
        "uneven classes" if settings.imbalance else "",
        f"{settings.label_noise:.0%} {settings.noise} label noise" if settings.label_noise else "",
        f"{settings.image_corruption:.0%} of the images corrupted ({settings.corruption})"
        if settings.image_corruption
        else "",
        "" if settings.groups is None else f"groups by {settings.groups} ({settings.shares or 'sizes'})",
    ]
    return "".join(f", {part}" for part in parts if part)


def drawn(data: Data, settings: Settings, seed: int) -> Data:
    """The data with the samples that `imbalance` or `per_class` draws."""
    if settings.imbalance:
        if len(settings.imbalance) != data.classes:
            raise ValueError(
                f"--imbalance must have one share for each of the {data.classes} classes of {data.name}, got "
                f"{len(settings.imbalance)}."
            )
        ids = protocols.imbalanced(data.train_y, rng.generator(seed, "imbalance"), settings.imbalance)
    elif settings.per_class is not None:
        sizes = torch.bincount(data.train_y)
        if settings.per_class > int(sizes.min()):
            raise ValueError(
                f"--per-class must be at most {int(sizes.min())}, the number of training images of class "
                f"{int(sizes.argmin())} of {data.name}, got {settings.per_class}."
            )
        ids = protocols.downsampled(data.train_y, rng.generator(seed, "per class"), settings.per_class)
    else:
        return data
    return data.taking(ids)


def _noise(seed: int) -> torch.Generator:
    return rng.generator(seed, "label noise")


def _refuse_uncorruptible(data: ImageData) -> None:
    """Raise for data whose images the corruptions do not fit."""
    kind = "vectors" if data.vectors else f"{data.train_x.dtype} images".removeprefix("torch.")
    if data.vectors or data.train_x.dtype != torch.uint8:
        raise ValueError(
            f"--image-corruption needs 8-bit images, but {data.name} holds {kind}. Leave it out."
        )
    if data.side < protocols.SMALLEST:
        raise ValueError(
            f"--image-corruption needs images of at least {protocols.SMALLEST} pixels a side, but those of "
            f"{data.name} have {data.side}. Leave it out, or enlarge them with --size."
        )
