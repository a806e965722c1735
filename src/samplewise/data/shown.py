"""`shown`: a short text for a nested batch, with dtypes and shapes instead of values."""

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

__all__ = ["shown"]

_MOST = 6
"""The largest number of parts of a container in the text."""


def shown(data: Any) -> str:
    """Describe a value: arrays by dtype and shape, containers by their parts, other values by their type.

    >>> import torch
    >>> shown({"image": torch.zeros(2, 3), "names": ["a", "b"]})
    "{'image': float32(2, 3), 'names': [str, str]}"
    """
    kind = type(data).__name__
    if hasattr(data, "dtype") and hasattr(data, "shape"):
        return f"{str(data.dtype).removeprefix('torch.')}({', '.join(map(str, data.shape))})"
    if isinstance(data, Mapping):
        return f"{{{_listed(f'{key!r}: {shown(value)}' for key, value in data.items())}}}"
    if hasattr(data, "_fields"):
        return f"{kind}({_listed(map(shown, data))})"
    if isinstance(data, list):
        return f"[{_listed(map(shown, data))}]"
    if isinstance(data, tuple):
        return f"({_listed(map(shown, data))})"
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        named = (f"{field.name}={shown(getattr(data, field.name))}" for field in dataclasses.fields(data))
        return f"{kind}({_listed(named)})"
    return "None" if data is None else kind


def _listed(parts: Iterable[str]) -> str:
    first = list(islice(parts, _MOST + 1))
    return ", ".join([*first[:_MOST], *["..."] * (len(first) > _MOST)])
