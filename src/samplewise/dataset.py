"""What can be learned of a data set without training on it: its length, labels and fingerprint."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["find_labels", "fingerprint", "labels_of", "length_of"]


def length_of(dataset: Any) -> int:
    """The number of samples, also where it is given as a number; 0 for None, a stream."""
    if dataset is None:
        return 0
    try:
        n = int(dataset) if isinstance(dataset, int | np.integer) else len(dataset)
    except TypeError:
        raise TypeError(
            f"the data set must have a length, but {type(dataset).__name__} has none. For a stream use "
            "the engine: Selector(policy, n) with ids from the stream."
        ) from None
    by_position = hasattr(dataset, "__getitem__") and not isinstance(dataset, Mapping)
    if not (by_position or isinstance(dataset, int | np.integer)):
        raise TypeError(
            f"the data set must give samples by position, dataset[i], but {type(dataset).__name__} does "
            'not. Pass the Dataset itself, as in data["train"]; the loader comes from selector.loader().'
        )
    if n < 1:
        raise ValueError(f"the data set must have at least 1 sample, got {n}.")
    return n


def labels_of(labels: Any, dataset: Any, n: int) -> Int[Tensor, " n"] | None:
    """The labels given, checked, or those the data set carries."""
    if labels is None:
        return None if dataset is None else find_labels(dataset)
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"labels must be {n} class numbers >= 0, got {labels!r:.80}.") from None
    if found.shape != (n,) or found.is_floating_point() or (found < 0).any():
        raise ValueError(f"labels must be {n} class numbers >= 0, got {tuple(found.shape)} {found.dtype}.")
    return found.long().cpu()


def find_labels(dataset: Any) -> Int[Tensor, " n"] | None:
    """Class numbers that a data set carries with it, without loading a sample; None if it has none."""
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        inside = find_labels(dataset.dataset)
        return None if inside is None else inside[torch.as_tensor(dataset.indices)]
    found = getattr(dataset, "targets", None)
    tensors: tuple[Tensor, ...] = getattr(dataset, "tensors", ())
    if found is None and tensors:
        found = tensors[-1]
    if found is None and len(named := _label_columns(dataset)) == 1:
        found = dataset.with_format("numpy")[named[0]][:]
    try:
        labels = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        return None
    whole = labels.ndim == 1 and not labels.is_floating_point() and labels.dtype != torch.bool
    if not whole or len(labels) != len(dataset) or (labels < 0).any():
        return None
    return labels.long()


def _label_columns(dataset: Any) -> list[str]:
    """The columns of a Hugging Face data set that are declared as class labels."""
    features = getattr(dataset, "features", None)
    if not isinstance(features, Mapping):
        return []
    return [name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"]


def fingerprint(dataset: Any, labels: Tensor | None, samples: int = 256) -> str:
    """SHA-256 over n, the labels and the bytes of up to 256 evenly spaced samples.

    Give a data set without random augmentation: the same data must give the same bytes.
    """
    n = len(dataset)
    digest = hashlib.sha256(str(n).encode())
    if labels is not None:
        digest.update(labels.cpu().long().numpy().tobytes())
    for i in np.linspace(0, n - 1, min(n, samples)).astype(int).tolist():
        _digest(digest, dataset[i])
    return digest.hexdigest()


def _digest(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(str(key).encode())
            _digest(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _digest(digest, item)
    elif hasattr(value, "tobytes"):
        digest.update(value.tobytes())
    else:
        digest.update(repr(value).encode())
