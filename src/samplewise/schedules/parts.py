"""Walks over a tree of parts: all parts of a policy, and the schedules that its numbers follow."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from samplewise.schedules.epochs import Schedule

__all__ = ["extremes", "parts", "scheduled"]


def parts(part: Any) -> Iterator[Any]:
    """All parts of a tree of frozen dataclasses, the tree itself first."""
    yield part
    if is_dataclass(part) and not isinstance(part, type):
        for f in fields(part):
            yield from parts(getattr(part, f.name))
    elif isinstance(part, tuple):
        for item in part:
            yield from parts(item)


def scheduled(part: Any) -> Iterator[Schedule]:
    """The schedules that are used as numbers in a tree of parts, without schedules inside schedules."""
    if isinstance(part, Schedule):
        yield part
    elif is_dataclass(part) and not isinstance(part, type):
        for f in fields(part):
            yield from scheduled(getattr(part, f.name))
    elif isinstance(part, tuple):
        for item in part:
            yield from scheduled(item)


def extremes(schedule: Schedule, epochs: int) -> set[int]:
    """The epochs of its smallest and largest number, and the first epoch without a finite number."""
    values = [schedule.at(epoch, epochs) for epoch in range(epochs)]
    odd = next((epoch for epoch, value in enumerate(values) if not math.isfinite(value)), 0)
    return {values.index(min(values)), values.index(max(values)), odd}
