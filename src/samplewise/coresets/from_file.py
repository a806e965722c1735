"""Methods in a Python file of the user's, named `path/to/file.py:recipe`."""

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from samplewise.checks import nearest
from samplewise.policy import REGISTRY, Policy, Recipe

__all__ = ["build", "file_of", "load", "recipe_from"]

_SPEC = re.compile(r"\s*(?P<path>.*?\.py):(?P<name>[^:]*)(?::(?P<written>.*))?", re.DOTALL)
_OWN = ("level", "observe", "plan", "choose", "state_dict", "load_state_dict")
"""What a method without a `Policy` must have: see `samplewise.engine.own_method.Method`."""


class _Undecorated(Recipe):
    """A function that is not registered. It declares no level and no source, so they are not compared."""

    def __init__(self, build: Any) -> None:
        super().__init__(build, "-", "epoch", "none", {}, None, {})

    def refuse_other_level(self, built: Policy) -> None:
        """Nothing is declared."""


def file_of(spec: str) -> tuple[Path, str, str] | None:
    """The file, the function and the text of the parameters, or None for a method of another form.

    >>> file_of("mine.py:half:keep=0.3")[1:], file_of("ucb:keep=0.3")
    (('half', 'keep=0.3'), None)
    """
    match = _SPEC.fullmatch(spec)
    return match and (Path(match["path"]), match["name"].strip(), match["written"] or "")


def load(path: Path) -> tuple[ModuleType, str]:
    """The module in a file, which is run once, and the SHA-256 of its source.

    Raises:
        ValueError: if the file cannot be read, or raises an error.
    """
    return _loaded(path.resolve())


@cache
def _loaded(path: Path) -> tuple[ModuleType, str]:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {error.strerror}. A method of your own is named path/to/file.py:recipe."
        ) from None
    digest = hashlib.sha256(source).hexdigest()
    name = f"samplewise_file_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ValueError(f"{path} is no Python file.")
    module, known = importlib.util.module_from_spec(spec), set(REGISTRY)
    sys.modules[name] = module  # dataclasses look there for their module
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        for added in REGISTRY.keys() - known:
            del REGISTRY[added]
        line = _line_in(path, error)
        raise ValueError(f"{path}{line} raises {type(error).__name__}: {error}") from error
    return module, digest


def _line_in(path: Path, error: BaseException) -> str:
    """The last line of the file that an error went through, as text."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno},"
    trace, found = error.__traceback__, None
    while trace is not None:
        found = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(path) else found
        trace = trace.tb_next
    return "" if found is None else f", line {found},"


def recipe_from(path: Path, name: str) -> Recipe:
    """The function of this name in the file, as a recipe.

    Raises:
        ValueError: if there is none, or it has the name of another recipe.
    """
    module, _ = load(path)
    found = vars(module).get(name)
    if found is None:
        own = [key for key, value in vars(module).items() if _is_recipe(value, module)]
        raise ValueError(
            f"{path} has no function {name!r}.{nearest(name, own)} It has {', '.join(own) or 'none'}."
        )
    if isinstance(found, Recipe):
        return found
    if not inspect.isfunction(found):
        raise ValueError(f"{path}:{name} must be a function that returns a Policy, got {found!r:.100}.")
    if name in REGISTRY:
        raise ValueError(f"{path}:{name} must not have the name of a known recipe. Rename the function.")
    return _Undecorated(found)


def build(spec: str, made: Recipe, params: Mapping[str, Any]) -> Any:
    """The policy, or the method of another kind, that a function of a file returns.

    Raises:
        ValueError: if it raises an error, or returns no method.
    """
    try:
        built = made(**params)
    except Exception as error:
        raise ValueError(f"{spec!r:.200} raises {type(error).__name__}: {error}") from error
    if not isinstance(built, Policy) and not all(hasattr(built, name) for name in _OWN):
        raise ValueError(
            f"{spec!r:.200} must return a Policy, or an object with {', '.join(_OWN)}; got {built!r:.100}."
        )
    return built


def _is_recipe(value: Any, module: ModuleType) -> bool:
    return (inspect.isfunction(value) or isinstance(value, Recipe)) and value.__module__ == module.__name__
