"""Hashing the content of any sample. Every process gets the same digest for the same content."""

import copyreg
import datetime
import enum
import hashlib
import types
from collections.abc import Iterator, Mapping, Set
from numbers import Number
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["add"]

_PLAIN = (
    *(Number, str, bytes, bytearray, type(None), range, slice),
    *(enum.Enum, PurePath, datetime.date, datetime.time, datetime.timedelta),
)
"""Types whose `repr` holds the whole value."""
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, np.ufunc)
_SPARSE = {
    torch.sparse_coo: ("indices", "values"),
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}

Seen = dict[int, tuple[int, Any]]
"""Visited objects by address: the number of the visit, and a reference that keeps the address in use."""


def add(digest: Any, value: Any, seen: Seen | None = None) -> None:
    """Update `digest` with the content of `value`: numbers, text, tensors, containers, object attributes.

    Memory addresses, hash seeds and the order of sets do not change the digest. For an object, the class name
    and the state that pickle would save are added. If it cannot be pickled, as a lock, only the class name
    is.

    Args:
        digest: a `hashlib` object.
        value: the value to add.
        seen: objects visited so far in this value.
    """
    seen = {} if seen is None else seen
    if isinstance(value, Tensor):
        _add_tensor(digest, value)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        if value.dtype.hasobject:
            add(digest, value.tolist(), seen)
        else:
            digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=lambda key: _sort_key(key, seen)):
            digest.update(str(key).encode() if isinstance(key, _PLAIN) else _separate_digest(key, seen))
            add(digest, value[key], seen)
    elif isinstance(value, list | tuple):
        for item in value:
            add(digest, item, seen)
    elif isinstance(value, Set):
        for content in sorted(_separate_digest(item, seen) for item in value):
            digest.update(content)
    elif isinstance(value, _NAMED):
        digest.update(_name(value).encode())
    elif hasattr(value, "tobytes"):
        digest.update(value.tobytes())
    elif isinstance(value, enum.Enum) and not isinstance(value.value, _PLAIN):  # the value is often object()
        digest.update(f"{type(value).__qualname__}.{value.name}".encode())
    elif isinstance(value, _PLAIN):
        digest.update(repr(value).encode())
    else:
        _add_object(digest, value, seen)


def _name(value: Any) -> str:
    """Name of a class, function or module. The module name is left out: in a script it is `__main__`."""
    return str(getattr(value, "__qualname__", None) or value.__name__)


def _add_tensor(digest: Any, value: Tensor) -> None:
    value = value.detach().cpu()
    if value.is_nested:
        for part in value.unbind():
            _add_tensor(digest, part)
    elif value.layout != torch.strided:
        value = value.coalesce() if value.layout == torch.sparse_coo else value
        digest.update(f"{value.layout}{tuple(value.shape)}".encode())
        for name in _SPARSE[value.layout]:
            _add_tensor(digest, getattr(value, name)())
    elif value.is_quantized:
        _add_tensor(digest, value.dequantize())
    else:
        value = value.resolve_conj().resolve_neg()
        if value.dtype == torch.bfloat16:
            value = value.float()
        elif value.is_floating_point() and value.dtype.itemsize == 1:  # numpy has no 8-bit floats
            digest.update(str(value.dtype).encode())
            value = value.view(torch.uint8)
        add(digest, value.numpy())


def _add_object(digest: Any, value: Any, seen: Seen) -> None:
    """Add the class name of an object and what pickle would save of it, if it can be pickled."""
    if id(value) in seen:
        digest.update(f"again {seen[id(value)][0]}".encode())
        return
    seen[id(value)] = len(seen), value
    digest.update(type(value).__qualname__.encode())
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        saved = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except Exception:  # the class's own pickling code may raise anything
        return
    for part in (saved,) if isinstance(saved, str) else saved:
        add(digest, list(part) if isinstance(part, Iterator) else part, seen)


def _separate_digest(value: Any, seen: Seen) -> bytes:
    """Separate digest of one item of a set or one key. These digests are sorted before they are added."""
    digest = hashlib.sha256()
    add(digest, value, dict(seen))
    return digest.digest()


def _sort_key(key: Any, seen: Seen) -> str:
    return str(key) if isinstance(key, _PLAIN) else _separate_digest(key, seen).hex()
