"""Type and shape checks of every call in the tests, for a part of what `jaxtyping.jaxtyped` costs.

The import hook of `--jaxtyping-packages` puts `jaxtyped` on every function. It binds all arguments with
`inspect` and checks them twice, also where no array is annotated. Where calls are many, that took most of the
time. `checked` checks once. The type checker looks at the types. A context of jaxtyping gives each axis one
size. It is opened only where an array is annotated.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, get_args, get_type_hints

import jaxtyping

_jaxtyped = jaxtyping.jaxtyped
_context = _jaxtyped("context")


def checked(*, typechecker: Callable[..., Any]) -> Callable[[Any], Any]:
    """A decorator that checks a function, method, property or dataclass at every call."""
    return functools.partial(_check, typechecker)


def _check(typechecker: Callable[..., Any], target: Any) -> Any:
    check = functools.partial(_check, typechecker)
    if inspect.isclass(target):
        init = target.__dict__.get("__init__")
        if dataclasses.is_dataclass(target) and init and not hasattr(init, "__wrapped__"):
            target.__init__ = check(init)
        return target
    if isinstance(target, classmethod | staticmethod):
        return type(target)(check(target.__func__))
    if isinstance(target, property):
        return property(*(part and check(part) for part in (target.fget, target.fset, target.fdel)))

    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        # Values are yielded after the call, when its context is closed. jaxtyped leaves them alone.
        return _jaxtyped(target, typechecker=typechecker)
    hints = {name: hint for name in target.__annotations__ for hint in _resolved(target, name)}
    call = typechecker(_with_hints(target, hints))
    return functools.wraps(target)(_in_context(call) if any(map(_has_arrays, hints.values())) else call)


def _resolved(function: Callable[..., Any], name: str) -> list[Any]:
    """The hint of a parameter with its names looked up; none if only a type checker imports one of them."""

    def holder() -> None: ...

    holder.__annotations__ = {name: function.__annotations__[name]}
    try:
        return [get_type_hints(holder, function.__globals__, include_extras=True)[name]]
    except NameError:
        return []


def _with_hints(function: FunctionType, hints: dict[str, Any]) -> FunctionType:
    """The same function with other hints."""
    parts = (function.__name__, function.__defaults__, function.__closure__)
    other = FunctionType(function.__code__, function.__globals__, *parts)
    other = functools.update_wrapper(other, function)
    del other.__wrapped__
    other.__kwdefaults__, other.__annotations__ = function.__kwdefaults__, hints
    return other


def _has_arrays(hint: Any) -> bool:
    """Whether a hint holds an array with axes."""
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_has_arrays, get_args(hint)))


def _in_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give each axis one size within a call."""

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with _context:
            return function(*args, **kwargs)

    return call
