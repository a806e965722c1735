"""What a schedule is, and the schedules that follow the epoch alone."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from samplewise.checks import Range, checked

__all__ = [
    "Annealed",
    "Between",
    "Complement",
    "Constant",
    "Elapsed",
    "Every",
    "Linear",
    "Power",
    "Schedule",
    "WarmUp",
    "complement",
    "number",
    "refuse_unresolved",
    "resolve",
    "sized",
]

Part = Annotated[float, Range(0, 1)]
P = TypeVar("P")


class Schedule:
    """A number for every epoch. Subclass it as a frozen dataclass and write `at`."""

    def at(self, epoch: int, epochs: int) -> float:
        """The number in force in `epoch` (0-based) of a training of `epochs`."""
        raise TypeError(f"{type(self).__name__} must define at(epoch, epochs), which gives a number.")

    def within(self, epochs: int) -> "Schedule":
        """The schedule itself. Raises if it needs a training longer than `epochs`."""
        return self

    def sized(self, n: int) -> "Schedule":
        """The schedule for n samples, for shares that must give whole numbers of them."""
        return self


def _at(number: "float | Schedule", epoch: int, epochs: int) -> float:
    return number.at(epoch, epochs) if isinstance(number, Schedule) else number


def number(value: "float | Schedule") -> float:
    """A part's number after `resolve`. A schedule that is still there is an error."""
    if isinstance(value, Schedule):
        raise TypeError(
            f"{value!r} must be resolved for an epoch before a part reads it. Use Policy.at(epoch, epochs)."
        )
    return value


def refuse_unresolved(part: object) -> None:
    """Raise if a parameter of a part is still a schedule."""
    for value in vars(part).values():
        if isinstance(value, Schedule):
            number(value)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same number in every epoch."""

    value: float

    def at(self, epoch: int, epochs: int) -> float:
        return self.value


@dataclass(frozen=True)
class Elapsed(Schedule):
    """The number of epochs before this one.

    >>> [Elapsed().at(e, 3) for e in range(3)]
    [0, 1, 2]
    """

    def at(self, epoch: int, epochs: int) -> float:
        return epoch


@dataclass(frozen=True)
class Linear(Schedule):
    """From `start` in the first epoch straight to `stop` at the end of training.

    >>> [Linear(1.0, 0.5).at(e, 4) for e in range(5)]
    [1.0, 0.875, 0.75, 0.625, 0.5]
    """

    start: float
    stop: float

    def at(self, epoch: int, epochs: int) -> float:
        return self.start + (self.stop - self.start) * epoch / epochs


@checked
@dataclass(frozen=True)
class Power(Schedule):
    """From `start` to `stop` along `(epoch / epochs) ** exponent`: below 1 moves early, above 1 late.

    >>> Power(1.0, 0.5, exponent=0.5).at(1, 4)
    0.75
    """

    start: float
    stop: float
    exponent: Annotated[float, Range(0, open_low=True)] = 0.5

    def at(self, epoch: int, epochs: int) -> float:
        return self.start + (self.stop - self.start) * math.pow(epoch / epochs, self.exponent)


@checked
@dataclass(frozen=True)
class Between(Schedule):
    """`inside` while start * epochs <= epoch < stop * epochs, `outside` before and after.

    >>> [Between(0.5, outside=1.0, stop=0.875).at(e, 4) for e in range(4)]
    [0.5, 0.5, 0.5, 0.5]
    >>> [Between(0.5, outside=1.0, start=0.25, stop=0.75).at(e, 4) for e in range(4)]
    [1.0, 0.5, 0.5, 1.0]
    """

    inside: float | Schedule
    outside: float | Schedule
    start: Part = 0.0
    stop: Part = 1.0

    def at(self, epoch: int, epochs: int) -> float:
        # The tolerance keeps 0.55 * 100 = 55.00000000000001 from moving a boundary by an epoch.
        begins = epoch >= self.start * epochs - 1e-9
        ends = epoch >= self.stop * epochs - 1e-9
        return _at(self.inside if begins and not ends else self.outside, epoch, epochs)


@checked
@dataclass(frozen=True)
class Annealed(Schedule):
    """`outside` in the first and last `share` of the epochs, `inside` between. At least one epoch each.

    >>> [Annealed(0.25, share=0.05).at(e, 4) for e in range(4)]
    [1.0, 0.25, 0.25, 1.0]
    """

    inside: float | Schedule
    outside: float | Schedule = 1.0
    share: Annotated[float, Range(0, 0.5, open_high=True)] = 0.05

    def ends(self, epochs: int) -> int:
        """The number of annealed epochs at each end."""
        return max(1, math.floor(self.share * epochs + 0.5 + 1e-9)) if self.share else 0

    def within(self, epochs: int) -> "Annealed":
        if epochs <= 2 * self.ends(epochs) and self.inside != self.outside:
            raise ValueError(
                f"epochs must be more than 2 x {self.ends(epochs)} annealing epochs, got {epochs}. "
                "Train longer, or give anneal=0."
            )
        return self

    def at(self, epoch: int, epochs: int) -> float:
        ends = self.ends(epochs)
        return _at(self.inside if ends <= epoch < epochs - ends else self.outside, epoch, epochs)


@checked
@dataclass(frozen=True)
class Every(Schedule):
    """`value` in epochs that are divisible by `period`, `otherwise` in all others.

    >>> [Every(2, value=1.0, otherwise=0.3).at(e, 5) for e in range(5)]
    [1.0, 0.3, 1.0, 0.3, 1.0]
    """

    period: Annotated[int, Range(1)]
    value: float | Schedule
    otherwise: float | Schedule

    def at(self, epoch: int, epochs: int) -> float:
        return _at(self.otherwise if epoch % self.period else self.value, epoch, epochs)


@checked
@dataclass(frozen=True)
class WarmUp(Schedule):
    """1 in the first `period` epochs, `then` in all others; a training has at least two periods.

    >>> [WarmUp(0.3, period=2).at(e, 5) for e in range(5)]
    [1.0, 1.0, 0.3, 0.3, 0.3]
    """

    then: float | Schedule
    period: Annotated[int, Range(1)]

    def at(self, epoch: int, epochs: int) -> float:
        return 1.0 if epoch < self.period else _at(self.then, epoch, epochs)

    def within(self, epochs: int) -> "WarmUp":
        if epochs < 2 * self.period and self.then != 1:
            raise ValueError(
                f"period must be at most half the {epochs} epochs, because the first period is a warm-up "
                f"on all samples, got {self.period}. Train {2 * self.period} epochs, or give "
                f"period={max(1, epochs // 2)}."
            )
        return self


@dataclass(frozen=True)
class Complement(Schedule):
    """One minus another schedule."""

    of: Schedule

    def at(self, epoch: int, epochs: int) -> float:
        return 1.0 - self.of.at(epoch, epochs)


def complement(number: float | Schedule) -> float | Schedule:
    """1 - number: turns a paper's weight of the old value into our `rate` of the newest."""
    return Complement(number) if isinstance(number, Schedule) else 1.0 - number


def resolve(part: P, epoch: int, epochs: int) -> P:
    """The same part with every schedule replaced by its number in `epoch`; ranges are checked again."""
    return _replaced(part, lambda schedule: schedule.at(epoch, epochs))


def sized(part: P, n: int) -> P:
    """The same part with every schedule in it made for n samples."""
    return _replaced(part, lambda schedule: schedule.sized(n))


def _replaced(part: P, change: Callable[[Schedule], "float | Schedule"]) -> P:
    """The same part with `change` applied to every schedule in it."""
    if isinstance(part, tuple):
        return tuple(_replaced(item, change) for item in part)  # type: ignore[return-value]
    if isinstance(part, Schedule) or not dataclasses.is_dataclass(part) or isinstance(part, type):
        return part
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        old = getattr(part, field.name)
        new = change(old) if isinstance(old, Schedule) else _replaced(old, change)
        if new is not old:
            changes[field.name] = new
    return dataclasses.replace(part, **changes) if changes else part
