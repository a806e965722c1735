"""Pixels by one rule, from files, tables and arrays: 0 is black, 255 is white, whatever the format.

| held as | becomes |
| --- | --- |
| 8 bits, also with a palette or in CMYK | uint8, as it is |
| 1 bit, bool | uint8, 0 and 255 |
| 16 bits without sign | float32, divided by 257: nothing is rounded off |
| floating point | float32, as it is: its white is unknown, so all images must be floating point |
| other integers, transparent pixels | refused |
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
_HINT = "Give --size S to resize and centre-crop them to S x S."


@dataclass(frozen=True)
class Pixels:
    """The images of one split; `own_unit` marks floats as the file held them, where 255 need not be white.

    With `vectors` they are no images: d numbers a sample, as d channels of one pixel.
    """

    values: Num[Tensor, "n ch side side"]
    own_unit: bool = False
    vectors: bool = False

    def alike(self, other: "Pixels", where: str) -> tuple["Pixels", "Pixels"]:
        """Both splits in one form: grey beside colour becomes colour, bytes beside floats become floats."""
        if self.vectors != other.vectors or self.values.shape[2:] != other.values.shape[2:]:
            hint = "" if self.vectors or other.vectors else f" {_HINT}"
            raise ValueError(
                f"{where}: train and test images differ in form: {tuple(self.values.shape[1:])} and "
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
        """Refuse floats beside integers, and floats in [0, 1] beside floats in [0, 255]."""
        if self.own_unit != other.own_unit:
            floats, integers = ("train", "test") if self.own_unit else ("test", "train")
            raise ValueError(
                f"{where}: {floats} images are floating point and {integers} images are integers, so their "
                "units differ. Store both splits in one type."
            )
        if not self.own_unit:
            return
        low, high = zip(*(p.values.aminmax() for p in (self, other)), strict=True)
        unit = [bool(a >= 0 and b <= 1) for a, b in zip(low, high, strict=True)]
        far = [bool(a < -1 or b > 2) for a, b in zip(low, high, strict=True)]
        if (unit[0] and far[1]) or (far[0] and unit[1]):
            raise ValueError(
                f"{where}: train images lie in [{low[0]:g}, {high[0]:g}] and test images in "
                f"[{low[1]:g}, {high[1]:g}], so their units differ. Scale both splits alike."
            )


def of_array(array: np.ndarray, where: str, size: int | None) -> Pixels:
    """The images of an array (n, h, w), (n, h, w, c) or (n, c, h, w), or the vectors of one (n, d)."""
    if 0 in array.shape:
        raise ValueError(f"{where} are empty: shape {array.shape}")
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
    """Decode what `open_` makes a PIL image of, and join all images in one form.

    The decoded images are held once; beside them there are at most 256 that are not yet joined.
    """
    blocks: list[np.ndarray] = []
    some: list[np.ndarray] = []
    first: tuple[np.ndarray, bool] | None = None
    for row, picture in enumerate(pictures):
        array, own_unit = _decoded(picture, open_, f"{where}: image {row}")
        if size is not None:
            array = fit(array, size)
        first = first or (array, own_unit)
        _one_form(first, (array, own_unit), row, where)
        some.append(array)
        if len(some) == _AT_ONCE:
            blocks.append(_joined(some))
            some = []
    if first is None:
        raise ValueError(f"{where} is empty")
    if some:
        blocks.append(_joined(some))
    return Pixels(torch.from_numpy(_joined(blocks)), first[1])


def fit(images: np.ndarray, size: int) -> np.ndarray:
    """The largest square in the centre of images (b, ch, h, w), resized to `size`."""
    side = min(images.shape[2:])
    top, left = ((length - side) // 2 for length in images.shape[2:])
    square = np.array(images[:, :, top : top + side, left : left + side])
    if side == size:
        return square
    resized = F.interpolate(torch.from_numpy(square), (size, size), mode="bilinear", antialias=True)
    return resized.numpy()


def of_file(image: Any) -> tuple[np.ndarray, bool]:
    """An opened PIL image as (h, w) or (h, w, 3), and whether it is in a unit of its own.

    Of several frames it is the first.
    """
    from PIL import ImageOps

    file_format = image.format
    # The camera's orientation is a note beside the pixels; TIFF files come turned already.
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
    """Whether 0 is white in a TIFF; Pillow turns the numbers round itself where they have 8 bits."""
    samples = image.tag_v2.get(339, (1,))
    if any(sample == 2 for sample in (samples if isinstance(samples, tuple) else (samples,))):
        raise ValueError(_SIGNED.format("TIFF"))
    white = bool(image.tag_v2.get(262) == 0)
    if white and image.mode == "F":
        raise ValueError("floating point with 0 as white has no known black: store it with 0 as black")
    return white


_SIGNED = "{} with 32 bits or a sign has no known white: store 8 or 16 bits"
_TRANSPARENT = "it has transparent pixels, whose colour is not defined: paint it on a background first"


def _decoded(picture: Any, open_: Callable[[Any], Any], where: str) -> tuple[np.ndarray, bool]:
    """One image (1, ch, h, w), and whether it is in a unit of its own."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_(picture) as opened:
                opened.load()
                array, own_unit = of_file(opened)
    except Exception as error:  # decoders raise what they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{where} is not readable: {reason}") from error
    return (array[None, None] if array.ndim == 2 else array.transpose(2, 0, 1)[None]), own_unit


def _one_form(first: tuple[np.ndarray, bool], now: tuple[np.ndarray, bool], row: int, where: str) -> None:
    """Refuse an image that cannot stand beside the first one."""
    h, w = now[0].shape[2:]
    if now[0].shape[2:] != first[0].shape[2:] or h != w:
        beside = "" if row == 0 else f"image 0 is {first[0].shape[2:]}, "
        raise ValueError(
            f"{where}: images must be square and have one size, {beside}image {row} is {(h, w)}. {_HINT}"
        )
    if now[1] != first[1]:
        kinds = {True: "floating point", False: "integers"}
        raise ValueError(
            f"{where}: image 0 is {kinds[first[1]]} and image {row} is {kinds[now[1]]}, so their units "
            "differ. Store all images in one type."
        )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Images one after the other, grey ones repeated for each channel; empties the list on the way."""
    n, ch = sum(map(len, parts)), max(part.shape[1] for part in parts)
    out = _room((n, ch, *parts[0].shape[2:]), np.result_type(*parts))
    begun = 0
    parts.reverse()
    while parts:  # each is let go as soon as it is copied
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
            f"{shape[0]} images of {shape[2]} x {shape[3]} need {gib:.1f} GiB of memory: "
            "give a smaller --size"
        ) from error


def _scaled(array: np.ndarray, where: str) -> tuple[np.ndarray, bool]:
    """Numbers of an array by the rule, and whether they are in a unit of their own."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255), False
    if kind == "u" and size <= 2:
        return (array if size == 1 else np.divide(array, 257, dtype=np.float32)), False
    if kind == "f":
        return _floats(array, where), True
    raise ValueError(
        f"{where} must be bool, uint8, uint16 or floating point, got {array.dtype}, whose white is unknown. "
        "Where pixels are 0 to 255, store them with astype('uint8')."
    )


def _floats(array: np.ndarray, where: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32, copy=False)
    if not np.isfinite(floats).all():
        raise ValueError(f"{where} hold values that are not finite in float32")
    return floats


def _channels_first(array: np.ndarray, where: str, size: int | None) -> np.ndarray:
    """Images as (n, ch, h, w); channels are where a length of 1 or 3 leaves squares, if both could be."""
    views = []
    if array.ndim == 3:
        views = [array[:, None]]
    elif array.ndim == 4:
        both = array.transpose(0, 3, 1, 2), array
        views = [view for view in both if view.shape[1] in (1, 3)]
    square = [view for view in views if view.shape[2] == view.shape[3]]
    if len(square) == 2 and array.shape[1] > 1:
        raise ValueError(
            f"{where} of shape {array.shape} could have their channels first or last. Use a larger side."
        )
    if square or (views and size is not None):
        return (square or views)[0]
    hint = f" {_HINT}" if views else ""
    raise ValueError(
        f"{where} must be square with 1 or 3 channels, (n, side, side[, channels]), "
        f"got shape {array.shape}.{hint}"
    )


def _vectors(array: np.ndarray, where: str, size: int | None) -> Pixels:
    """Vectors (n, d) as d channels of one pixel, so that each number has its own mean and spread."""
    if size is not None:
        raise ValueError(f"--size is for images, but {where} are vectors, of shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{where} must be numbers, got {array.dtype}")
    if array.dtype.kind in "iu" and int(max(abs(int(array.min())), abs(int(array.max())))) > 2**24:
        raise ValueError(
            f"{where} must be whole numbers up to 2**24 or floating point, "
            f"got {array.min()} to {array.max()}: float32 would round them. Subtract an offset first."
        )
    values = array if array.dtype == np.uint8 else _floats(array, where)
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        _refuse_rounded(array, values, where)
    return Pixels(torch.from_numpy(np.ascontiguousarray(values))[:, :, None, None], True, vectors=True)


def _refuse_rounded(array: np.ndarray, rounded: np.ndarray, where: str) -> None:
    """Refuse numbers whose differences float32 loses: an offset, as in times in seconds, takes its digits."""
    with np.errstate(over="ignore"):
        spread, largest = array.std(axis=0), np.abs(array).max(axis=0)
        lost = np.abs(array - rounded).max(axis=0) > spread / 1000
    # What is constant but for float64's own rounding has no differences to lose.
    if (lost & (spread > 1e-13 * largest)).any():
        column = int(np.argmax(lost & (spread > 1e-13 * largest)))
        raise ValueError(
            f"{where}: number {column} of each vector lies between {array[:, column].min():.17g} and "
            f"{array[:, column].max():.17g}, which float32 would round. Subtract an offset first."
        )
