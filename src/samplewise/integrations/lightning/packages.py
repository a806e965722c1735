"""Which Callback a class must be: `lightning` and `pytorch_lightning` have different ones."""

import sys
from functools import cache
from typing import Any

from samplewise.checks import require

__all__ = ["as_callback"]

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def as_callback(cls: Any) -> Any:
    """`cls` as a class that is also the Callback of each package in use; `_declared` is `cls` itself.

    Without one in use, an installed one is imported.

    Raises:
        ImportError: if neither is installed, naming the extra that brings it.
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
