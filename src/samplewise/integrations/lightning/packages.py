"""Making a class a Callback of `lightning` and of `pytorch_lightning`, which have different base classes."""

import sys
from functools import cache
from typing import Any

from samplewise.checks import require

__all__ = ["as_callback"]

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def as_callback(cls: Any) -> Any:
    """Return a subclass of `cls` that is also a Callback of each imported package. `_declared` is `cls`.

    If neither package is imported, an installed one is imported.

    Raises:
        ImportError: if neither package is installed. The error names the extra to install.
    """
    loaded = [package for name in _PACKAGES if (package := sys.modules.get(name)) is not None]
    return _combined(cls, tuple(package.Callback for package in loaded or [_installed()]))


def _installed() -> Any:
    try:
        return require(_PACKAGES[0], "lightning")
    except ImportError:
        return require(_PACKAGES[1], "lightning")


@cache
def _combined(cls: Any, bases: tuple[type, ...]) -> Any:
    wanted = tuple(base for base in bases if not issubclass(cls, base))
    if not wanted:
        return cls
    named = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls, *wanted), {**named, "_declared": cls})
