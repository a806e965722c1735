"""Corrupted images: five kinds with the same number of images each. Labels stay correct."""

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Int8, Num, UInt8
from torch import Tensor

from samplewise.bench.protocols.effects import fog, gaussian, motion_blur, occlusion, resolution
from samplewise.checks import Range, check_arguments, nearest

CORRUPTIONS = ("clean", "gaussian", "occlusion", "resolution", "fog", "motion_blur")
"""Names of the codes in `CorruptedImages.kind`."""

_CHUNK = 1024
SMALLEST = 8
"""The smallest side of an image that can be corrupted."""


class CorruptedImages(NamedTuple):
    """Images, and the kind of corruption of each: a position in `CORRUPTIONS`, 0 for clean."""

    images: UInt8[Tensor, "n ch side side"]
    kind: Int8[Tensor, " n"]


def corrupt_images(
    images: Num[Tensor, "n ch height width"],
    rng: torch.Generator,
    share: Annotated[float, Range(0, 1)] = 0.04,
    random_position: bool = False,
    reference_bugs: bool = False,
    kinds: Sequence[str] = CORRUPTIONS[1:],
) -> CorruptedImages:
    """Corrupt floor(share * n) images in each of five ways, or of `kinds`, drawn without replacement.

    The corruptions of `samplewise.bench.protocols.effects` are Gaussian noise, a black square, low
    resolution, fog and motion blur. They are designed for uint8 images of 32 x 32. For other square images
    of at least 8 pixels they are scaled in proportion. `random_position` draws the position of the black
    square.

    Source: the experiment of TDDS (arXiv:2311.13613, table 9) with the settings of the moderate coreset
    repository. The script there has bugs, which `reference_bugs` reproduces: noise below 0 becomes bright,
    fog makes images black, and motion blur makes an image of one colour black. The script corrupts 6 % per
    kind, the paper 4 %.

    It needs Pillow, from the extra `bench`.

    >>> clean = torch.zeros(100, 3, 32, 32, dtype=torch.uint8)
    >>> spoilt = corrupt_images(clean, torch.Generator())
    >>> torch.bincount(spoilt.kind).tolist()
    [80, 4, 4, 4, 4, 4]
    """
    check_arguments("corrupt_images", corrupt_images, locals())
    n, _, height, width = images.shape
    if images.dtype != torch.uint8:
        raise ValueError(f"corrupt_images needs uint8 images, got {images.dtype}.")
    if height != width or height < SMALLEST:
        raise ValueError(
            f"corrupt_images needs square images of at least {SMALLEST} pixels, got {height} x {width}."
        )
    for name in kinds:
        if name not in CORRUPTIONS[1:]:
            raise ValueError(
                f"corrupt_images.kinds must be of {', '.join(CORRUPTIONS[1:])}, got {name!r}."
                f"{nearest(name, CORRUPTIONS[1:])}"
            )
    if share * len(kinds) > 1 + 1e-9:
        raise ValueError(
            f"corrupt_images.share must be at most 1 / {len(kinds)}, because no image gets two of the "
            f"{len(kinds)} kinds, got {share!r}."
        )
    each = math.floor(share * n + 1e-9)
    order = torch.randperm(n, generator=rng)
    spoilt, kind = images.clone(), torch.zeros(n, dtype=torch.int8)
    for place, code in enumerate(map(CORRUPTIONS.index, kinds)):
        for start in range(place * each, (place + 1) * each, _CHUNK):
            ids = order[start : min(start + _CHUNK, (place + 1) * each)]
            kind[ids] = code
            spoilt[ids] = _spoil(CORRUPTIONS[code], images[ids], rng, random_position, reference_bugs)
    return CorruptedImages(spoilt, kind)


def _spoil(
    name: str, images: Tensor, rng: torch.Generator, random_position: bool, reference_bugs: bool
) -> Tensor:
    match name:
        case "gaussian":
            return gaussian(images, rng, reference_bugs)
        case "occlusion":
            return occlusion(images, rng, random_position)
        case "resolution":
            return resolution(images)
        case "fog":
            return fog(images, reference_bugs)
        case _:
            return motion_blur(images, reference_bugs)
