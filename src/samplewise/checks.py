"""Ranges declared in type annotations, their check, and the texts of the errors."""

import dataclasses
import difflib
import functools
import importlib
import inspect
import math
import operator
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

__all__ = [
    "Range",
    "Share",
    "check_arguments",
    "checked",
    "epoch_number",
    "nearest",
    "refuse_taken_fields",
    "require",
    "warn",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """An interval of numbers, used in the annotation of a field or argument.

    >>> str(Range(0, 1, open_low=True))
    'in (0, 1]'
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return (
                "finite" if self.low == -math.inf else f"{'>' if self.open_low else '>='} {_said(self.low)}"
            )
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"in {left}{_said(self.low)}, {_said(self.high)}{right}"


def _said(bound: float) -> str:
    """A bound as text, a whole number with all its digits."""
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


Share = Annotated[float, Range(0, 1, open_low=True)]
"""The share of the samples that is kept."""


@runtime_checkable
class Scheduled(Protocol):
    """An object that returns a number for each epoch: see `samplewise.schedules`."""

    def at(self, epoch: int, epochs: int) -> float: ...


def epoch_number(epoch: Any) -> int:
    """The epoch as an int: a state must hold plain values, so numbers of numpy or torch are converted."""
    try:
        if isinstance(epoch, bool):
            raise TypeError
        return operator.index(epoch)
    except TypeError:
        raise ValueError(
            f"epoch must be a whole number, got {epoch!r}. Give the number of the epoch, from 0 on."
        ) from None


@functools.cache
def refuse_taken_fields(cls: type, base: type, free: str) -> None:
    """Raise if a field of the dataclass has the name of a method, property or attribute of its base.

    A field that sets an attribute, with a default of the same type, is fine.

    Args:
        cls: the dataclass, once it is complete.
        base: what it is derived from.
        free: the name of the base that may be a field.
    """
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        name, missing = field.name, dataclasses.MISSING
        kept = inspect.getattr_static(base, name, missing)
        if kept is not missing and name != free and type(kept) is not type(field.default):
            raise TypeError(
                f"{cls.__name__}.{name} must not be a field: {base.__name__} uses this name itself. Give the "
                f"field another name. To set what {base.__name__} uses, leave out the annotation."
            )


def nearest(word: str, choices: Iterable[str]) -> str:
    """A sentence that suggests the closest choice, or an empty string.

    >>> nearest("infobach", ["infobatch", "ucb"])
    " Did you mean 'infobatch'?"
    >>> nearest("linear", ["cosine", "constant"])  # no typing error: no guess
    ''
    """
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.55)
    return f" Did you mean {close[0]!r}?" if close else ""


def require(module: str, extra: str) -> Any:
    """Import an optional module. If it is not installed, the error names the extra to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise ImportError(
            f"{module} is not installed. Install it with: pip install 'samplewise[{extra}]'"
        ) from error


def checked(cls: type[T]) -> type[T]:
    """Check every annotated field of a dataclass when it is built.

    >>> @checked
    ... @dataclass(frozen=True)
    ... class Share:
    ...     keep: typing.Annotated[float, Range(0, 1, open_low=True)]
    >>> Share(keep=70)
    Traceback (most recent call last):
    ValueError: Share.keep must be in (0, 1], got 70. Did you mean 0.7?
    """
    build: Callable[..., None] = cls.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - replaces cls.__init__
        build(self, *args, **kwargs)
        values = {name: getattr(self, name) for name in cls.__dataclass_fields__}  # type: ignore[attr-defined]
        check_arguments(cls.__name__, cls, values)

    __init__.__wrapped__ = build  # type: ignore[attr-defined]
    __init__.__signature__ = inspect.signature(build)  # type: ignore[attr-defined]
    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls


def check_arguments(owner: str, annotated: Any, values: dict[str, Any]) -> None:
    """Check `values` against the annotations of a class or function. Errors name `owner.field`."""
    for name, hint in _hints(annotated).items():
        if name in values:
            _check(f"{owner}.{name}", hint, values[name])


_cache: dict[Any, dict[str, Any]] = {}


def _hints(annotated: Any) -> dict[str, Any]:
    if annotated not in _cache:
        hints = typing.get_type_hints(annotated, include_extras=True)
        hints.pop("return", None)
        _cache[annotated] = hints
    return _cache[annotated]


def _check(where: str, hint: Any, value: Any) -> None:
    limits: list[Range] = []
    if typing.get_origin(hint) is typing.Annotated:
        limits = [part for part in hint.__metadata__ if isinstance(part, Range)]
        hint = hint.__origin__
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    options = typing.get_args(hint) if union else (hint,)
    if str in options and set(options) <= {str, type(None)} and not isinstance(value, options):
        raise ValueError(f"{where} must be text, got {value!r}.")
    names = [n for option in options for n in _words(option)]
    if isinstance(value, str) and names:
        if value not in names:
            words = ", ".join(map(repr, names))
            also = "a number or " if {int, float} & set(options) else ""
            raise ValueError(f"{where} must be {also}one of {words}, got {value!r}.{nearest(value, names)}")
        return
    if value is None and type(None) in options:
        return
    if bool in options and isinstance(value, bool):
        return
    if set(options) <= {bool, type(None)} and bool in options:
        raise ValueError(f"{where} must be True or False, got {value!r}.")
    if names and not {int, float} & set(options) and all(_words(o) or o is type(None) for o in options):
        raise ValueError(f"{where} must be one of {', '.join(map(repr, names))}, got {value!r}.")
    named = [option for option in options if not _words(option) and option is not type(None)]
    if named and all(typing.get_origin(option) is Callable for option in named) and not callable(value):
        words = "".join(f"{name!r} or " for name in names)
        raise ValueError(f"{where} must be {words}a function, got {value!r}.")
    if typing.get_origin(hint) is tuple:
        _each(where, typing.get_args(hint), value)
    if int in options or float in options:
        for number in _numbers(where, options, value):
            for limit in limits:
                _within(where, limit, number, value)


def _each(where: str, hints: tuple[Any, ...], value: Any) -> None:
    """Check each item of a tuple against its own type hint."""
    if Ellipsis in hints:
        hints = hints[:1] * (len(value) if isinstance(value, tuple) else 1)
    if not isinstance(value, tuple) or len(value) != len(hints):
        raise ValueError(f"{where} must be a tuple of {len(hints)} items, got {value!r}.")
    for i, (hint, item) in enumerate(zip(hints, value, strict=True)):
        _check(f"{where}[{i}]", hint, item)


_WIDEST = 2**63
"""Upper bound of int64, the widest integer dtype that torch fully supports."""


def _words(option: Any) -> tuple[Any, ...]:
    return typing.get_args(option) if typing.get_origin(option) is typing.Literal else ()


def _numbers(where: str, options: tuple[Any, ...], value: Any) -> list[float]:
    """The numbers to compare with the range: the value itself, or both ends of a schedule."""
    scheduled = any(option is not int and option is not float and _is_schedule(option) for option in options)
    if scheduled and isinstance(value, Scheduled):
        return [value.at(0, 1), value.at(1, 1)]
    number = isinstance(value, Integral) or (float in options and isinstance(value, Real))
    if number and isinstance(value, Integral) and not -_WIDEST <= int(value) < _WIDEST:
        raise ValueError(f"{where} must fit into 64 bits, got {value!r}.")
    if number and not isinstance(value, bool):
        return [value if isinstance(value, int | float) else float(value)]
    kind = "a number" if float in options else "a whole number"
    kind += " or a schedule" if scheduled else ""
    raise ValueError(f"{where} must be {kind}, got {value!r}.")


def _is_schedule(option: Any) -> bool:
    return isinstance(option, type) and hasattr(option, "at")


_PERCENT = 5
"""A share from this number on is likely meant in percent. A smaller one may be something else."""


def _within(where: str, limit: Range, number: float, value: Any) -> None:
    if number in limit:
        return
    hint = ""
    if limit.low >= 0 and limit.high == 1 and _PERCENT <= number <= 100:
        hint = f" Did you mean {number / 100:g}?"
    got = f"{number!r}" if number is value else f"{number!r} from {value!r}"
    finite = " and finite" if number == limit.high == math.inf and limit.low != -math.inf else ""
    raise ValueError(f"{where} must be {limit}{finite}, got {got}.{hint}")


def warn(message: str) -> None:
    """Warn at the line of the user's code that called into the package."""
    package, frame, level = __name__.partition(".")[0], sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level - 1)
