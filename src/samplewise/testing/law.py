"""What a law is: a function of a recipe that raises an AssertionError if the recipe breaks it."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from samplewise.policy import Recipe

__all__ = ["Law", "differs", "ensure", "law"]

Law = Callable[[Recipe], None]


def ensure(holds: bool, sentence: str) -> None:
    """Raise AssertionError with the sentence unless it holds; unlike `assert`, also under `python -O`."""
    if not holds:
        raise AssertionError(sentence)


def law(check: Law) -> Law:
    """Make a function a law: its error names the recipe, and an exemption must be needed.

    A recipe that cannot keep a law says `exempt={law's name: reason}`. If it keeps the law, the exemption is
    an error.
    """

    @functools.wraps(check)
    def checked(recipe: Recipe) -> None:
        reason = recipe.exempt.get(check.__name__)
        try:
            check(recipe)
        except AssertionError as broken:
            if reason is None:
                raise AssertionError(f"{recipe.name} breaks {check.__name__}: {broken}") from broken
            return
        if reason is not None:
            raise AssertionError(
                f"{recipe.name} is exempt from {check.__name__} ({reason}), but the law holds: "
                "remove the exemption."
            )

    return checked


def differs(a: Any, b: Any) -> bool:
    """Whether two nested values differ in any bit. Dtypes count too; NaN equals NaN."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return True
        if a.is_floating_point():
            return not bool(((a == b) | (a.isnan() & b.isnan())).all())
        return not torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() != b.keys() or any(differs(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) != len(b) or any(differs(x, y) for x, y in zip(a, b, strict=True))
    return bool(a != b)
