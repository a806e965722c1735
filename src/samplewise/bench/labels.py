"""Class numbers from labels: integers stay as they are, strings are numbered in sorted order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.checks import nearest


@dataclass(frozen=True)
class Labels:
    """The labels of one split as they are in the source. `names[i]` is the name of class i."""

    values: np.ndarray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def present(self) -> bool:
        """Whether any sample has a label. Public test splits often hold -1, null or empty strings instead."""
        kind = self.values.dtype.kind
        unknown = self.values == -1 if kind in "if" else self.values == "" if kind == "U" else None
        return len(self.values) > 0 and (unknown is None or not bool(np.all(unknown)))

    def spelled(self, where: str) -> "Labels":
        """The labels with class names in place of integers."""
        if not self.names:
            return self
        if self.values.min() < 0 or self.values.max() >= len(self.names):
            raise ValueError(
                f"{where} must be in [0, {len(self.names) - 1}], because the column has {len(self.names)} "
                f"classes, got {self.values.min()} to {self.values.max()}"
            )
        return Labels(np.array(self.names)[self.values])


def of_column(values: Sequence[Any], names: Sequence[str], where: str) -> Labels:
    """The labels of a column. Either no row or every row may be None."""
    empty = [row for row, value in enumerate(values) if value is None]
    if len(empty) == len(values):
        return Labels(np.full(len(values), -1))
    if empty:
        raise ValueError(
            f"{where} must be in every row, but {len(empty)} rows have none (first: row {empty[0]}). Leave "
            "out these rows."
        )
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        array = np.empty(0, dtype=object)
    return Labels(of_array(array, where).values, tuple(names))


def groups_of(values: Sequence[Any], names: Sequence[str], where: str) -> np.ndarray:
    """The groups of a column, (n,): int64 or text. Every row must have one.

    Args:
        values: of the column.
        names: of its classes, if it has any.
        where: the name of the column, for errors.
    """
    known = of_column([None if value == "" else value for value in values], names, where)
    if not known.present:
        raise ValueError(f"{where} must be in every row, but no row has one. Name another column.")
    return known.spelled(where).values


def of_array(array: np.ndarray, where: str) -> Labels:
    """The labels of a 1-D array of integers, strings or bools."""
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    unsigned = array.dtype.kind == "u" and array.size > 0 and int(array.max()) > np.iinfo(np.int64).max
    if array.ndim != 1 or array.dtype.kind not in "biuU" or unsigned:
        raise ValueError(
            f"{where} must be a 1-D array of integers or strings, got {array.dtype} of shape {array.shape}"
        )
    return Labels(array.astype(np.int64) if array.dtype.kind in "biu" else array)


def encode(
    train: Labels, test: Labels, where: str
) -> tuple[Int[Tensor, " n"], Int[Tensor, " t"], tuple[str, ...]]:
    """Return the class numbers of both splits, and the class names if there are any.

    If the splits number the same names differently, the names are used to match them.
    """
    if train.names and test.names and train.names != test.names:
        train, test = train.spelled(f"{where}: train labels"), test.spelled(f"{where}: test labels")
    text = [labels.values.dtype.kind == "U" for labels in (train, test)]
    if text[0] != text[1]:
        kinds = ["strings" if is_text else "integers" for is_text in text]
        raise ValueError(
            f"{where}: train and test labels must have one type, but train labels are {kinds[0]} and test "
            f"labels are {kinds[1]}"
        )
    if not text[0]:
        return torch.from_numpy(train.values), torch.from_numpy(test.values), train.names
    for split, labels in (("train", train), ("test", test)):
        if len(empty := np.flatnonzero(labels.values == "")):
            raise ValueError(
                f"{where}: {split} labels must not be empty, but row {empty[0]} is. Leave out such rows."
            )
    classes, train_y = np.unique(train.values, return_inverse=True)
    if unknown := sorted({*test.values.tolist()} - {*classes.tolist()}):
        close = nearest(unknown[0], classes.tolist())
        raise ValueError(
            f"{where}: test labels must be one of the {len(classes)} classes of the training labels, "
            f"got {unknown[0]!r}.{close}"
        )
    test_y = np.searchsorted(classes, test.values)
    return torch.from_numpy(train_y), torch.from_numpy(test_y), tuple(classes.tolist())
