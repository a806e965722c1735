"""`picture`: any sample of a data set as an image, a text or a row of numbers."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from samplewise.checks import require
from samplewise.data.shown import shown
from samplewise.html.facts import Picture

__all__ = ["picture"]

SIDE = 96
"""Pixels of the longer side of an image. Larger ones are made smaller."""
SHARP = 32
"""Up to this side, images keep every pixel."""
LETTERS = 400
NUMBERS = 24
"""Numbers of a row that are shown."""
_LEAST = 4
"""Fewer pixels a side are numbers and no image."""


def picture(sample: Any) -> Picture:
    """A sample as it is shown.

    An image is a PIL image, or an array (h, w), (h, w, c) or (c, h, w) with 1 or 3 channels. Of a tuple or a
    list that holds an image or a text the first such part is shown, and of a mapping all its entries as text.

    Raises:
        ImportError: for an image, if Pillow is missing.
    """
    found = _image(sample)
    if found is None and isinstance(sample, tuple | list):
        found = next((image for part in sample if (image := _image(part)) is not None), None)
    if found is None and isinstance(sample, Mapping):
        found = next((image for part in sample.values() if (image := _image(part)) is not None), None)
    if found is not None:
        return Picture("image", _uri(found))
    said = _text(sample)
    return Picture("text", said if len(said) <= LETTERS else f"{said[:LETTERS]} ...")


def _image(sample: Any) -> Any:
    """A PIL image; None for anything else."""
    if type(sample).__module__.partition(".")[0] == "PIL":
        return sample
    if not isinstance(sample, Tensor | np.ndarray):
        return None
    values = sample.detach().cpu().numpy() if isinstance(sample, Tensor) else sample
    if values.dtype.kind not in "buif" or values.ndim not in (2, 3):
        return None
    if values.ndim == 3 and values.shape[2] not in (1, 3):
        if values.shape[0] not in (1, 3):
            return None
        values = values.transpose(1, 2, 0)
    if min(values.shape[:2]) < _LEAST:
        return None
    pixels = _bytes(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values)
    return require("PIL.Image", "bench").fromarray(pixels)


def _bytes(values: np.ndarray) -> np.ndarray:
    """Values as pixels: 8 bits as they are, others from their lowest to their highest."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    found = np.nan_to_num(values.astype(np.float64))
    low, high = float(found.min()), float(found.max())
    scaled = (found - low) / (high - low if high > low else 1.0)
    return np.ascontiguousarray((255 * scaled).round().astype(np.uint8))


def _uri(image: Any) -> str:
    """A small copy as a data URI: PNG, or JPEG if that is smaller."""
    small = image.convert("RGB") if image.mode not in ("L", "RGB") else image.copy()
    small.thumbnail((SIDE, SIDE))
    exact = _encoded(small, "png", optimize=True)
    return exact if max(small.size) <= SHARP else min(exact, _encoded(small, "jpeg", quality=80), key=len)


def _encoded(image: Any, kind: str, **how: Any) -> str:
    file = io.BytesIO()
    image.save(file, format=kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _text(sample: Any) -> str:
    if isinstance(sample, str):
        return sample
    if isinstance(sample, bytes):
        return sample.decode("utf-8", errors="replace")
    if isinstance(sample, Mapping):
        return "\n".join(f"{key}: {_text(value)}" for key, value in sample.items())
    if isinstance(sample, Tensor):
        sample = sample.detach().cpu().numpy()
    if isinstance(sample, np.ndarray):
        return _numbers(sample)
    if isinstance(sample, tuple | list):
        return "\n".join(map(_text, sample))
    return str(sample) if isinstance(sample, int | float | bool | None) else shown(sample)


def _numbers(values: np.ndarray) -> str:
    flat = values.reshape(-1)
    if flat.dtype.kind in "OSU":
        return "\n".join(map(str, flat.tolist()))
    said = " ".join(
        f"{value:.4g}" if flat.dtype.kind == "f" else str(value) for value in flat[:NUMBERS].tolist()
    )
    more = len(flat) - NUMBERS
    return f"{said} and {more:,} more" if more > 0 else said
