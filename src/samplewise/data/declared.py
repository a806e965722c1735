"""Schemas for values read from a file: the metadata of a table, or a saved state."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplewise.checks import Range

__all__ = [
    "Anything",
    "Column",
    "Fields",
    "Form",
    "Is",
    "Items",
    "Maybe",
    "Named",
    "Number",
    "OneOf",
    "refuse_misfit",
]

Misfit = tuple[str, str, str]
"""One mismatch: the path in the value, what must be there, and what is there."""

_WORDS = {str: "text", bool: "True or False"}


class Form(ABC):
    """A schema of one value."""

    @abstractmethod
    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        """Yield every mismatch in `value`. `path` is the path of `value` itself."""


def refuse_misfit(what: str, value: Any, form: Form) -> None:
    """Raise a ValueError that names the first part of `value` that does not match `form`.

    >>> refuse_misfit("the note", {"n": -1}, Fields({"n": Number(Range(1), whole=True)}))
    Traceback (most recent call last):
    ValueError: the note['n'] must be a whole number >= 1, got -1.
    """
    for path, must, got in form.misfits(value, ""):
        raise ValueError(f"{what}{path} must {must}, got {got}.")


@dataclass(frozen=True)
class Anything(Form):
    """Any value."""

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        yield from ()


@dataclass(frozen=True)
class Is(Form):
    """A string or a bool."""

    kind: type

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        if not isinstance(value, self.kind):
            yield path, f"be {_WORDS[self.kind]}", _shown(value)


@dataclass(frozen=True)
class Number(Form):
    """A number in a range. A bool is not a number."""

    within: Range
    whole: bool = False

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        kind = "whole number" if self.whole else "number"
        fits = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        if not (fits and value in self.within):
            yield path, f"be a {kind} {self.within}", _shown(value)


@dataclass(frozen=True)
class OneOf(Form):
    """One of a fixed set of strings."""

    words: tuple[str, ...]

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        if value not in self.words:
            yield path, f"be one of {', '.join(map(repr, self.words))}", _shown(value)


@dataclass(frozen=True)
class Maybe(Form):
    """None, or a value of one form."""

    form: Form

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        if value is not None:
            yield from self.form.misfits(value, path)


@dataclass(frozen=True)
class Items(Form):
    """A list whose items all have one form."""

    form: Form

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            yield path, "be a list", _shown(value)
            return
        for number, item in enumerate(value):
            yield from self.form.misfits(item, f"{path}[{number}]")


@dataclass(frozen=True)
class Named(Form):
    """A mapping whose values all have one form; its keys may be any names."""

    form: Form

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        if not isinstance(value, Mapping):
            yield path, "be a mapping", _shown(value)
            return
        for name, item in value.items():
            yield from self.form.misfits(item, f"{path}[{name!r:.80}]")


@dataclass(frozen=True)
class Fields(Form):
    """A mapping with a form for each name. Every name must be there, except the `optional` ones."""

    forms: Mapping[str, Form]
    optional: bool | tuple[str, ...] = False

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        if not isinstance(value, Mapping):
            yield path, "be a mapping", _shown(value)
            return
        for name, form in self.forms.items():
            if name in value:
                yield from form.misfits(value[name], f"{path}[{name!r}]")
            elif self.optional is not True and name not in (self.optional or ()):
                yield f"{path}[{name!r}]", "be there", "nothing"


@dataclass(frozen=True)
class Column(Form):
    """A tensor with one of some dtypes, a shape (None: any length) and values in a range.

    NaN passes every range check. It marks a sample that was never observed.
    """

    kinds: tuple[torch.dtype, ...]
    shape: tuple[int | None, ...]
    low: float | None = None
    high: float | None = None

    def misfits(self, value: Any, path: str) -> Iterator[Misfit]:
        if not isinstance(value, Tensor):
            yield path, "be a tensor", _shown(value)
            return
        shape = tuple(value.shape)
        if self.shape and shape and self.shape[0] is not None and shape[0] != self.shape[0]:
            yield path, f"have {self.shape[0]} rows", str(shape[0])
        elif len(shape) != len(self.shape) or any(
            length not in (None, own) for length, own in zip(self.shape, shape, strict=True)
        ):
            yield path, f"have shape {_shape(self.shape)}", _shape(shape)
        if value.dtype not in self.kinds:
            kinds = " or ".join(str(kind).removeprefix("torch.") for kind in self.kinds)
            yield path, f"hold {kinds}", str(value.dtype).removeprefix("torch.")
        if self.low is not None and bool((outside := value < self.low).any()):
            yield path, f"be >= {self.low:g}", f"{value[outside].min().item():g}"
        if self.high is not None and bool((outside := value > self.high).any()):
            yield path, f"be <= {self.high:g}", f"{value[outside].max().item():g}"


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"


def _shown(value: Any) -> str:
    return f"{value!r:.80}" if not isinstance(value, Tensor) else f"a tensor {tuple(value.shape)}"
