"""Decoding pixels of files, tables and arrays by one rule: 0 is black and 255 is white in every format.

| stored as | becomes |
| --- | --- |
| 8 bits, also with a palette or in CMYK | uint8, unchanged |
| 1 bit, bool | uint8, 0 and 255 |
| 16 bits unsigned | float32, divided by 257, without rounding |
| floating point | float32, unchanged: the value of white is unknown, so all images must be floating point |
| other integers, transparent pixels | an error |
"""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Num
from torch import Tensor

_AT_ONCE = 256
_HINT = "Use --size S to crop images to squares and resize them to S x S."


@dataclass(frozen=True)
class Pixels:
    """The images of one split. `own_unit` is True for floats of a file, where the value of white is unknown.

    If `vectors` is True, the samples are vectors of d numbers, stored as d channels of one pixel.
    """

    values: Num[Tensor, "n ch side side"]
    own_unit: bool = False
    vectors: bool = False

    def alike(self, other: "Pixels", where: str) -> tuple["Pixels", "Pixels"]:
        """Convert both splits to one form: if one is in colour, both are; if one is float32, both are."""
        if self.vectors != other.vectors or self.values.shape[2:] != other.values.shape[2:]:
            hint = "" if self.vectors or other.vectors else f" {_HINT}"
            raise ValueError(
                f"{where}: train and test images must have one shape, got {tuple(self.values.shape[1:])} and "
                f"{tuple(other.values.shape[1:])}.{hint}"
            )
        if self.vectors and self.values.shape[1] != other.values.shape[1]:
            raise ValueError(
                f"{where}: train and test vectors must have one length, got {self.values.shape[1]} and "
                f"{other.values.shape[1]}"
            )
        if not self.vectors:
            self._one_unit(other, where)
        channels = max(self.values.shape[1], other.values.shape[1])
        dtype = torch.promote_types(self.values.dtype, other.values.dtype)
        first, second = (
            Pixels(p.values.expand(-1, channels, -1, -1).to(dtype).contiguous(), p.own_unit, p.vectors)
            for p in (self, other)
        )
        return first, second

    def _one_unit(self, other: "Pixels", where: str) -> None:
        """Raise if only one split is floats, or one is in [0, 1] and the other in [0, 255]."""
        if self.own_unit != other.own_unit:
            floats, integers = ("train", "test") if self.own_unit else ("test", "train")
            raise ValueError(
                f"{where}: {floats} images are floating point and {integers} images are integers, so their "
                "units differ. Store both splits in one dtype."
            )
        if not self.own_unit:
            return
        low, high = zip(*(p.values.aminmax() for p in (self, other)), strict=True)
        unit = [bool(a >= 0 and b <= 1) for a, b in zip(low, high, strict=True)]
        far = [bool(a < -1 or b > 2) for a, b in zip(low, high, strict=True)]
        if (unit[0] and far[1]) or (far[0] and unit[1]):
            raise ValueError(
                f"{where}: train images lie in [{low[0]:g}, {high[0]:g}] and test images in "
                f"[{low[1]:g}, {high[1]:g}], so their units differ. Scale both splits to one range."
            )


def of_array(array: np.ndarray, where: str, size: int | None) -> Pixels:
    """Read images from an array (n, h, w), (n, h, w, c) or (n, c, h, w), or vectors from an array (n, d)."""
    if 0 in array.shape:
        raise ValueError(f"{where} must not be empty, got shape {array.shape}")
    if array.ndim == 2:
        return _vectors(array, where, size)
    array = _channels_first(array, where, size)
    n, ch, h, w = array.shape
    if size in (None, h) and h == w:
        values, own_unit = _scaled(array, where)
        return Pixels(torch.from_numpy(np.ascontiguousarray(values)), own_unit)
    out: np.ndarray | None = None
    for begun in range(0, n, _AT_ONCE):
        values, own_unit = _scaled(array[begun : begun + _AT_ONCE], where)
        if out is None:
            out = _room((n, ch, size or h, size or w), values.dtype)
        out[begun : begun + _AT_ONCE] = fit(values, size or h)
    return Pixels(torch.from_numpy(out), own_unit)


def of_pictures(pictures: Iterable[Any], open_: Callable[[Any], Any], where: str, size: int | None) -> Pixels:
    """Open every picture with `open_` as a PIL image, decode it, and join all images into one array.

    Peak memory: all decoded images, and at most 256 more that are not joined yet.
    """
    blocks: list[np.ndarray] = []
    some: list[np.ndarray] = []
    first: tuple[np.ndarray, bool] | None = None
    for row, picture in enumerate(pictures):
        array, own_unit = _decoded(picture, open_, f"{where}: image {row}")
        if size is not None:
            array = fit(array, size)
        first = first or (array, own_unit)
        _refuse_other_form(first, (array, own_unit), row, where)
        some.append(array)
        if len(some) == _AT_ONCE:
            blocks.append(_joined(some))
            some = []
    if first is None:
        raise ValueError(f"{where} must have at least one image, but is empty")
    if some:
        blocks.append(_joined(some))
    return Pixels(torch.from_numpy(_joined(blocks)), first[1])


def fit(images: np.ndarray, size: int) -> np.ndarray:
    """Crop images (b, ch, h, w) to the largest centred square and resize it to `size`."""
    side = min(images.shape[2:])
    top, left = ((length - side) // 2 for length in images.shape[2:])
    square = np.array(images[:, :, top : top + side, left : left + side])
    if side == size:
        return square
    resized = F.interpolate(torch.from_numpy(square), (size, size), mode="bilinear", antialias=True)
    return resized.numpy()


def of_file(image: Any) -> tuple[np.ndarray, bool]:
    """Return an open PIL image as an array (h, w) or (h, w, 3), and whether its unit is unknown (floats).

    If the file has several frames, the first is used.
    """
    from PIL import ImageOps

    file_format = image.format
    # The orientation is stored as metadata. Pillow applies it for TIFF files, but not for other formats.
    turned = file_format != "TIFF" and image.getexif().get(0x0112, 1) != 1
    if turned:
        image = ImageOps.exif_transpose(image)
    inverted = file_format == "TIFF" and _inverted(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        array, clear = np.asarray(image), image.info.get("transparency")
        if clear is not None and (array == clear).any():
            raise ValueError(_TRANSPARENT)
        bits = image.tag_v2.get(258, (16,))[0] if file_format == "TIFF" else 16
        scaled = np.divide(array, (2**bits - 1) / 255, dtype=np.float32)
        return (255 - scaled if inverted else scaled), False
    if image.mode == "I":
        raise ValueError(_SIGNED.format(file_format))
    if image.mode == "F":
        return _floats(np.asarray(image), "its pixels"), True
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise ValueError(_TRANSPARENT)
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")), False


def _inverted(image: Any) -> bool:
    """Return whether 0 is white in a TIFF file. For 8 bits, Pillow inverts the values itself."""
    samples = image.tag_v2.get(339, (1,))
    if any(sample == 2 for sample in (samples if isinstance(samples, tuple) else (samples,))):
        raise ValueError(_SIGNED.format("TIFF"))
    white = bool(image.tag_v2.get(262) == 0)
    if white and image.mode == "F":
        raise ValueError(
            "floating-point pixels with 0 as white have no known value for black. Store them with 0 as black"
        )
    return white


_SIGNED = "{} pixels with 32 bits or a sign have no known value for white. Store 8 or 16 unsigned bits"
_TRANSPARENT = "it has transparent pixels, whose colour is undefined. Put the image on a background first"


def _decoded(picture: Any, open_: Callable[[Any], Any], where: str) -> tuple[np.ndarray, bool]:
    """Decode one image to (1, ch, h, w), and return whether its unit is unknown (floats)."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_(picture) as opened:
                opened.load()
                array, own_unit = of_file(opened)
    except Exception as error:  # decoders may raise any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{where} is not readable: {reason}") from error
    return (array[None, None] if array.ndim == 2 else array.transpose(2, 0, 1)[None]), own_unit


def _refuse_other_form(
    first: tuple[np.ndarray, bool], now: tuple[np.ndarray, bool], row: int, where: str
) -> None:
    """Raise if an image differs from the first one in size or unit, or is not square."""
    h, w = now[0].shape[2:]
    if now[0].shape[2:] != first[0].shape[2:] or h != w:
        first_size = "" if row == 0 else f"image 0 is {first[0].shape[2:]} and "
        raise ValueError(
            f"{where}: images must be square and have one size, but {first_size}image {row} is {(h, w)}. "
            f"{_HINT}"
        )
    if now[1] != first[1]:
        kinds = {True: "floating point", False: "integers"}
        raise ValueError(
            f"{where}: image 0 is {kinds[first[1]]} and image {row} is {kinds[now[1]]}, so their units "
            "differ. Store all images in one dtype."
        )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate images. Grey images are repeated for each channel. The list is emptied to save memory."""
    n, ch = sum(map(len, parts)), max(part.shape[1] for part in parts)
    out = _room((n, ch, *parts[0].shape[2:]), np.result_type(*parts))
    begun = 0
    parts.reverse()
    while parts:  # each part is freed once it is copied
        part = parts.pop()
        out[begun : begun + len(part)] = part
        begun += len(part)
    return out


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        gib = math.prod(shape) * dtype.itemsize / 2**30
        raise ValueError(
            f"{shape[0]} images of {shape[2]} x {shape[3]} need {gib:.1f} GiB of memory. Use a smaller --size"
        ) from error


def _scaled(array: np.ndarray, where: str) -> tuple[np.ndarray, bool]:
    """Convert the pixels of an array by the rule of this module, and return whether their unit is unknown."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255), False
    if kind == "u" and size <= 2:
        return (array if size == 1 else np.divide(array, 257, dtype=np.float32)), False
    if kind == "f":
        return _floats(array, where), True
    raise ValueError(
        f"{where} must be bool, uint8, uint16 or floating point, got {array.dtype}: its value of white is "
        "unknown. If pixels are 0 to 255, store them with astype('uint8')."
    )


def _floats(array: np.ndarray, where: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32, copy=False)
    if not np.isfinite(floats).all():
        raise ValueError(f"{where} must be finite in float32, but some values are NaN, infinite or too large")
    return floats


def _channels_first(array: np.ndarray, where: str, size: int | None) -> np.ndarray:
    """Return images as (n, ch, h, w). The channel axis has length 1 or 3 and leaves square images."""
    views = []
    if array.ndim == 3:
        views = [array[:, None]]
    elif array.ndim == 4:
        both = array.transpose(0, 3, 1, 2), array
        views = [view for view in both if view.shape[1] in (1, 3)]
    square = [view for view in views if view.shape[2] == view.shape[3]]
    if len(square) == 2 and array.shape[1] > 1:
        raise ValueError(
            f"{where} of shape {array.shape} could have channels first or last. Use larger images."
        )
    if square or (views and size is not None):
        return (square or views)[0]
    hint = f" {_HINT}" if views else ""
    raise ValueError(
        f"{where} must be square with 1 or 3 channels, (n, side, side[, channels]), "
        f"got shape {array.shape}.{hint}"
    )


def _vectors(array: np.ndarray, where: str, size: int | None) -> Pixels:
    """Store vectors (n, d) as d channels of one pixel, so each component has its own mean and deviation."""
    if size is not None:
        raise ValueError(f"--size needs images, but {where} are vectors, shape {array.shape}. Leave it out.")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where} must be numbers, got {array.dtype}")
    if array.dtype.kind in "iu" and int(max(abs(int(array.min())), abs(int(array.max())))) > 2**24:
        raise ValueError(
            f"{where} must be integers up to 2**24 or floating point, "
            f"got {array.min()} to {array.max()}: float32 would round them. Subtract an offset first."
        )
    values = array if array.dtype == np.uint8 else _floats(array, where)
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        _refuse_rounded(array, values, where)
    return Pixels(torch.from_numpy(np.ascontiguousarray(values))[:, :, None, None], True, vectors=True)


def _refuse_rounded(array: np.ndarray, rounded: np.ndarray, where: str) -> None:
    """Raise if float32 rounds away differences, as for numbers with a large offset (times in seconds)."""
    with np.errstate(over="ignore"):
        spread, largest = array.std(axis=0), np.abs(array).max(axis=0)
        lost = np.abs(array - rounded).max(axis=0) > spread / 1000
    # Ignore components that are constant up to the rounding of float64.
    if (lost & (spread > 1e-13 * largest)).any():
        column = int(np.argmax(lost & (spread > 1e-13 * largest)))
        raise ValueError(
            f"{where}: component {column} of the vectors lies between {array[:, column].min():.17g} and "
            f"{array[:, column].max():.17g}: float32 would round away its differences. Subtract an offset "
            "first."
        )
