"""Ids and labels as int64, from any integer type; columns sorted by id."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

__all__ = [
    "by_id",
    "class_numbers",
    "is_class_numbers",
    "numbers",
    "refuse_other_length",
    "whole_numbers",
]

_CLASSES = 1 << 24
"""Upper bound of class numbers. Tables have one row per class, so a larger number is an id or a hash."""
_AT_ONCE = 1 << 22


def whole_numbers(found: Any) -> Int[Tensor, "..."] | None:
    """Convert integers of any width, signed or unsigned, to int64 on the CPU. Return None for other input.

    Takes lists, arrays, tensors and columns of data frames. A column is read by position; its index is
    ignored.

    >>> whole_numbers(np.array([3, 1], dtype=np.uint16)), whole_numbers([0.5])
    (tensor([3, 1]), None)
    """
    if isinstance(found, Tensor):
        here: Tensor = found.detach().cpu()
        if here.dtype == torch.int64:
            return here
        found = here
    if np.ma.is_masked(found):
        return None
    try:
        array = np.asarray(found)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors that numpy cannot read
        return None
    if not array.size:
        return torch.empty(array.shape, dtype=torch.int64)
    if array.dtype == object and not all(_is_whole(value) for value in array.flat):
        return None
    if array.dtype.kind not in "iuO":
        return None
    if array.dtype.kind != "i" and int(array.max()) > np.iinfo(np.int64).max:
        return None
    return torch.from_numpy(array.astype(np.int64))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def numbers(what: str, found: Any) -> Shaped[Tensor, " k"]:
    """Convert a 1-D column of numbers to a dtype that torch, numpy and Parquet all support.

    Takes lists, arrays, tensors and columns of data frames. A column is read by position; its index is
    ignored.

    >>> numbers("weights", [1, 2])
    tensor([1., 2.], dtype=torch.float64)
    """
    here: Tensor | None = found.detach() if isinstance(found, Tensor) else None
    if here is None and not (np.iscomplexobj(found) or np.ma.is_masked(found)):
        try:
            here = torch.from_numpy(np.array(found, dtype=np.float64))
        except (TypeError, ValueError):
            here = None
    if here is None or here.ndim != 1 or here.layout != torch.strided or here.is_complex():
        kind = getattr(found, "dtype", None) or f"{found!r:.80}"
        shape = "" if here is None else f" of shape {tuple(here.shape)}"
        raise ValueError(f"{what} must be a 1-D column of numbers, one for each id, got {kind}{shape}.")
    if here.is_floating_point():
        return here.float() if here.dtype.itemsize < 4 else here
    if here.dtype in (torch.uint16, torch.uint32, torch.uint64):
        whole = whole_numbers(here)
        return here.double() if whole is None else whole
    return here


def class_numbers(what: str, found: Any, n: int) -> Int[Tensor, " n"]:
    """Labels as int64.

    Raises:
        ValueError: if they are not n class numbers in [0, 2^24). The error names the first wrong sample.
    """
    labels = whole_numbers(found)
    if labels is None:
        kind = getattr(found, "dtype", None) or f"{found!r:.80}"
        raise ValueError(f"{what} must be {n} class numbers >= 0, got {kind}. Number the classes from 0.")
    if labels.shape != (n,):
        raise ValueError(f"{what} must be {n} class numbers >= 0, got {tuple(labels.shape)}.")
    if len(odd := ((labels < 0) | (labels >= _CLASSES)).nonzero().flatten()):
        raise ValueError(
            f"{what} must be {n} class numbers >= 0 and < {_CLASSES}, got {int(labels[odd[0]])} for sample "
            f"{int(odd[0])} ({len(odd)} such samples). Number the classes from 0: "
            "labels = torch.unique(labels, return_inverse=True)[1]."
        )
    return labels


def is_class_numbers(labels: Tensor | None, n: int) -> bool:
    """Return whether `labels` holds one class number for each of n samples."""
    if labels is None or labels.shape != (n,):
        return False
    return bool(((labels >= 0) & (labels < _CLASSES)).all())


def by_id(
    owner: str, ids: Any, rows: Mapping[str, Shaped[Tensor, "k ..."]]
) -> tuple[Int[Tensor, " k"], dict[str, Shaped[Tensor, "k ..."]]]:
    """Return the ids as int64 in ascending order, and every column in the same order.

    All code that joins on ids keeps its rows in this form. Rows at equal positions then have equal ids.

    Raises:
        ValueError: if ids are not integers >= 0, if an id is repeated, or if a column has another length.
    """
    whole = whole_numbers(ids)
    if whole is None or whole.ndim != 1:
        kind = getattr(ids, "dtype", type(ids).__name__)
        shape = tuple(getattr(ids, "shape", ())) if whole is None else tuple(whole.shape)
        hint = " For a mask use mask.nonzero().flatten()." if kind in (torch.bool, bool) else ""
        raise ValueError(f"{owner}.ids must be a 1-D column of integers, got {kind} of shape {shape}.{hint}")
    refuse_other_length(owner, len(whole), rows)
    columns = dict(rows)
    if not _ascends(whole):
        order = whole.argsort()
        whole = whole[order]
        columns = {name: column[order.to(column.device)] for name, column in rows.items()}
        if len(twice := whole[1:][whole.diff() == 0]):
            raise ValueError(f"{owner}.ids must hold each id once, but id {int(twice[0])} is repeated.")
    if len(whole) and int(whole[0]) < 0:
        raise ValueError(f"{owner}.ids must be >= 0, got {int(whole[0])}.")
    return whole, columns


def refuse_other_length(owner: str, n: int, rows: Mapping[str, Shaped[Tensor, "..."]]) -> None:
    """Raise unless every column has a row for each of n ids."""
    for name, column in rows.items():
        if not column.ndim or len(column) != n:
            raise ValueError(
                f"{owner}.{name} must have one row for each of the {n} ids, got shape {tuple(column.shape)}."
            )


def _ascends(ids: Int[Tensor, " k"]) -> bool:
    """Return whether ids are strictly ascending. Read in pieces, because a plan may have 10^9 ids."""
    array = ids.numpy()
    pieces = (array[start : start + _AT_ONCE + 1] for start in range(0, len(array), _AT_ONCE))
    return all(bool((piece[1:] > piece[:-1]).all()) for piece in pieces)
