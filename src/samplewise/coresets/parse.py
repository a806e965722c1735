"""Read methods from text: `ucb:keep=0.3`, the repr `recipes.ucb(keep=0.3)`, or `path/to/file.py:recipe`."""

import ast
import re
import warnings
from collections.abc import Iterator
from typing import Any

from samplewise.checks import nearest
from samplewise.coresets.from_file import build, file_of, recipe_from
from samplewise.policy import REGISTRY, Recipe

__all__ = ["divide", "get", "items", "parse"]

_CALL = re.compile(r"\s*(?:\w+\.)?recipes\.(\w+)\(")


def get(name: str) -> Recipe:
    """The recipe of this name. The error for an unknown name suggests a similar one."""
    if name not in REGISTRY:
        if ":" in name:
            start = name.split(":")[0]
            raise ValueError(
                f"a method must be a name or a policy, got {name!r:.80}. To give parameters, use "
                f"sw.recipes.{start}(...) or sw.recipes.parse({name!r:.80})."
            )
        known = ", ".join(sorted(REGISTRY))
        raise ValueError(
            f"unknown method {name!r:.80}.{nearest(name, REGISTRY)} Known: {known}. To use a method of "
            "your own, import its module first, or name its file: path/to/file.py:recipe."
        )
    return REGISTRY[name]


def parse(spec: str) -> Any:
    """Build a method from its text: the command-line form, or the repr of a policy.

    `path/to/file.py:NAME` is a function in a Python file that returns a policy. It need not be registered.

    Values are read as Python literals, never evaluated. In the command-line form, any other value is text.

    Raises:
        ValueError: for a method that is not registered, and for parameters that it does not take. For a
            file that cannot be loaded, or holds no such function.

    >>> parse("ucb:keep=0.3,period=5")
    recipes.ucb(keep=0.3, period=5, alpha=0.8, c=1.0)
    >>> parse("recipes.ucb(keep=0.3)") == parse("ucb:keep=0.3")
    True
    """
    name, params = divide(spec)
    file = file_of(name)
    return get(name)(**params) if file is None else build(spec, recipe_from(*file[:2]), params)


def divide(spec: str) -> tuple[str, dict[str, Any]]:
    """The name of a method and the parameters that its text gives. Neither is checked.

    >>> divide("ucb:keep=0.3"), divide("mine.py:half:keep=0.3")
    (('ucb', {'keep': 0.3}), ('mine.py:half', {'keep': 0.3}))
    """
    if called := _CALL.match(spec):
        name, pairs = called[1], _keywords(spec)
    else:
        file = file_of(spec)
        name, _, written = spec.partition(":")
        if file is not None:
            name, written = f"{file[0]}:{file[1]}", file[2]
        pairs = items(written, spec, "NAME:key=value,key=value")
    params: dict[str, Any] = {}
    for key, value in pairs:
        if key in params:
            raise ValueError(f"{spec!r:.200}: {key} is given twice. Give it once.")
        params[key] = value
    return name, params


def _keywords(spec: str) -> Iterator[tuple[str, Any]]:
    """The parameters of the one call that `spec` is."""
    try:
        call = ast.parse(spec.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: parentheses without end
        call = None
    keywords = call.keywords if isinstance(call, ast.Call) and not call.args else []
    if not isinstance(call, ast.Call) or call.args or any(word.arg is None for word in keywords):
        raise ValueError(
            f"{spec!r:.200} must be one call with named parameters, as in recipes.tdds(keep=0.3)."
        )
    for word in keywords:
        try:
            yield str(word.arg), ast.literal_eval(word.value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            wrong = f"{word.arg}={ast.unparse(word.value):.80}"
            raise ValueError(
                f"{spec!r:.200}: parameters must be plain values, such as numbers, strings and tuples, got "
                f"{wrong}."
            ) from None


def items(written: str, spec: str, form: str) -> Iterator[tuple[str, Any]]:
    """The pairs of `key=value,key=value`. Values are Python literals, or else text.

    Args:
        written: the pairs.
        spec: the whole text that they are a part of, for errors.
        form: how the whole text must be written, for errors.
    """
    for item in _split(written):
        word, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{spec!r:.200}: parameters must be written {form}, got {item!r:.80}.")
        yield word.strip(), _value(value.strip())


def _value(written: str) -> Any:
    """A Python literal, or else the text itself."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the parser warns of text such as 0.3or
            return ast.literal_eval(written)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return written


def _split(written: str) -> list[str]:
    """Split at commas outside brackets, so that milestones=(0.3,0.6) stays whole."""
    items, depth = [""], 0
    for letter in written:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            items.append("")
        else:
            items[-1] += letter
    return [item for item in items if item.strip()]
