"""Length, labels and fingerprint of a data set, read without training."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import IterableDataset

from samplewise.data.byid import class_numbers, is_class_numbers, whole_numbers
from samplewise.data.content import add

__all__ = ["find_labels", "fingerprint", "labels_of", "length_of"]

_COMPARED = 8
"""Samples read to compare labels: this many evenly spaced ones, and one of each of this many classes."""
_ROUNDING = 1e-3
"""Allowed error of the sum of a one-hot vector in half precision, which should be 1."""


def length_of(dataset: Any) -> int:
    """Return the number of samples. `dataset` may also be that number, or None (a stream), which gives 0."""
    if dataset is None:
        return 0
    kind = type(dataset).__name__
    try:
        n = int(dataset) if isinstance(dataset, int | np.integer) else len(dataset)
    except TypeError:
        raise TypeError(
            f"the data set must have a length, but {kind} has none. For a stream, build "
            "Selector(policy, n) with the number of samples, and pass ids from the stream."
        ) from None
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            f"the data set must return samples by position, dataset[i], but {kind} is an IterableDataset. "
            "For a stream, use samplewise.integrations.streams.Stream, or Selector(policy, n) with ids from "
            "the stream. If the data fit in memory, use Selector(policy, list(dataset))."
        )
    if hasattr(dataset, "iloc") or hasattr(dataset, "__dataframe__"):
        raise TypeError(
            f"the data set must return samples by position, dataset[i], but {kind} returns columns by name. "
            "Make a TensorDataset(x, y) of its columns, or write a Dataset whose __getitem__ reads row i."
        )
    if isinstance(dataset, str | bytes):
        raise TypeError(f"the data set must be a Dataset, got the {kind} {dataset!r:.80}. Load it first.")
    by_position = hasattr(dataset, "__getitem__") and not isinstance(dataset, Mapping)
    if not (by_position or isinstance(dataset, int | np.integer)):
        raise TypeError(
            f"the data set must return samples by position, dataset[i], but {kind} does "
            'not. Pass the Dataset itself, such as data["train"], not a loader or a dict of splits. '
            "selector.loader() makes the loader."
        )
    if n < 1:
        raise ValueError(f"the data set must have at least 1 sample, got {n}.")
    return n


def labels_of(labels: Any, dataset: Any, n: int) -> Int[Tensor, " n"] | None:
    """Return the checked `labels`, or the labels found in the data set, compared with some of its samples."""
    if labels is not None:
        return class_numbers("labels", labels, n)
    found = None if dataset is None else find_labels(dataset)
    if found is not None:
        _refuse_other_labels(found, dataset)
    return found


def find_labels(dataset: Any) -> Int[Tensor, " n"] | None:
    """Return the class numbers stored in a data set, without loading a sample. None if it stores none.

    A TensorDataset has labels if exactly one tensor after its first holds class numbers. If two tensors do,
    the result is None.
    """
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        inside, rows = find_labels(dataset.dataset), whole_numbers(dataset.indices)
        return None if inside is None or rows is None else inside[rows]
    if hasattr(dataset, "datasets") and hasattr(dataset, "cumulative_sizes"):
        parts = [find_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    found = [getattr(dataset, "targets", None)]
    if found[0] is None:
        found = list(getattr(dataset, "tensors", ())[1:])
    if not found and len(named := _label_columns(dataset)) == 1:
        found = [dataset.with_format("numpy")[named[0]][:]]
    usable = [labels for labels in map(whole_numbers, found) if is_class_numbers(labels, len(dataset))]
    return usable[0] if len(usable) == 1 else None


def _label_columns(dataset: Any) -> list[str]:
    """Columns of a Hugging Face data set whose feature type is ClassLabel."""
    features = getattr(dataset, "features", None)
    if not isinstance(features, Mapping):
        return []
    return [name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"]


def _refuse_other_labels(labels: Int[Tensor, " n"], dataset: Any) -> None:
    """Raise if samples contain class numbers that differ from `labels`, as after a `target_transform`."""
    n = len(labels)
    spread = np.linspace(0, n - 1, min(n, _COMPARED)).astype(int)
    classes = np.unique(labels.numpy(), return_index=True)[1]
    first = classes[np.linspace(0, len(classes) - 1, min(len(classes), _COMPARED)).astype(int)]
    ids = np.unique(np.concatenate([spread, first])).tolist()
    many = getattr(dataset, "__getitems__", None)
    samples = many(ids) if callable(many) else [dataset[i] for i in ids]
    given = [dict(_numbers_in(sample, "sample")) for sample in samples]
    wanted = labels[ids].tolist()
    misses = {
        place: [i for i, here in enumerate(given) if here[place] != wanted[i]]
        for place in given[0]
        if all(place in here for here in given)
    }
    if not misses or not all(misses.values()):
        return
    place = min(misses, key=lambda place: len(misses[place]))
    row = misses[place][0]
    raise ValueError(
        f"the labels stored in the data set differ from the labels in its samples: for sample {ids[row]} the "
        f"stored label is {wanted[row]}, but {place} is {given[row][place]}. Pass the {n} class numbers "
        "that you train on: Selector(..., labels=...). If the stored labels are right, pass these."
    )


def _numbers_in(value: Any, path: str) -> Iterator[tuple[str, int]]:
    """Yield the path and the class of every part of a sample that is one integer or a one-hot vector."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers_in(item, f"{path}[{key!r}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _numbers_in(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, tuple) or (
        isinstance(value, list) and not all(isinstance(v, Real) for v in value)
    ):
        for number, item in enumerate(value):
            yield from _numbers_in(item, f"{path}[{number}]")
    elif isinstance(value, Real | Tensor | np.ndarray | list) and (found := _number(value)) is not None:
        yield path, found


def _number(value: Any) -> int | None:
    """Return an integer or one-element tensor as int, the class of a (smoothed) one-hot vector, or None."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_complex() or value.ndim > 1:
            return None
        here = value.detach().cpu()
        value = here.float() if here.is_floating_point() else here
    array = np.asarray(value)
    if array.ndim > 1 or array.dtype.kind not in "biuf":
        return None
    if array.size == 1:
        return int(array.item()) if float(array.item()).is_integer() else None
    if abs(float(array.sum()) - 1) > _ROUNDING:
        return None
    low, top = array.min(), int(array.argmax())
    others = np.delete(array, top)
    return top if low >= 0 and low == others.max() and array[top] > low else None


def fingerprint(dataset: Any, labels: Tensor | None, samples: int = 256) -> str:
    """SHA-256 of n, the labels and the content of evenly spaced samples. Equal in every process.

    `samples` is the largest number of samples that are read. Pass a data set without random augmentation:
    each read of a sample must return the same bytes.
    """
    n = len(dataset)
    digest = hashlib.sha256(str(n).encode())
    if labels is not None:
        digest.update(labels.cpu().long().numpy().tobytes())
    for i in np.linspace(0, n - 1, min(n, samples)).astype(int).tolist():
        sample, before = dataset[i], digest.copy()
        try:
            add(digest, sample)
        except RecursionError:  # the recursion limit differs between processes, so use only the class name
            digest = before
            digest.update(type(sample).__qualname__.encode())
    return digest.hexdigest()
