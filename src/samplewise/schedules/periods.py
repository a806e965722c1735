"""Shares that fall from period to period and keep a budget over the whole training (DynaMS)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Literal

from samplewise.checks import Range, Share, checked
from samplewise.schedules.epochs import Schedule

__all__ = [
    "PUBLISHED",
    "Falling",
    "Periods",
    "average",
    "constant_shares",
    "fit_budget",
    "linear_shares",
    "period_lengths",
    "period_sizes",
    "power_shares",
]

Falling = Literal["constant", "linear", "power"]
Shares = tuple[float, ...]

PUBLISHED: MappingProxyType[tuple[str, str, float], dict[str, float]] = MappingProxyType(
    {
        ("imagenet", "power", 0.6): {"m": 0.3984, "r": 0.2371, "b": 0.2895},
        ("imagenet", "power", 0.7): {"m": 0.3476, "r": 0.2300, "b": 0.4275},
        ("imagenet", "power", 0.8): {"m": 0.3532, "r": 0.1349, "b": 0.4978},
        ("imagenet", "power", 0.9): {"m": 0.2176, "r": 0.1035, "b": 0.7078},
        ("imagenet", "linear", 0.6): {"a": 0.073},
        ("imagenet", "linear", 0.7): {"a": 0.055},
        ("imagenet", "linear", 0.8): {"a": 0.036},
        ("imagenet", "linear", 0.9): {"a": 0.018},
        ("cifar10", "linear", 0.6): {"a": 0.041},
    }
)
"""DynaMS's numbers by (data set, kind, budget): ImageNet's are for 12 periods, CIFAR-10's for 20."""

LEAST = 0.05
"""The smallest share that fitting a budget leaves a period."""


def constant_shares(periods: int, keep: float) -> Shares:
    """1 in the first period, `keep` in the others.

    >>> constant_shares(3, 0.5)
    (1.0, 0.5, 0.5)
    """
    return (1.0, *(keep for _ in range(1, periods)))


def linear_shares(periods: int, a: float) -> Shares:
    """1 - k a in period k = 0, 1, ...

    >>> linear_shares(3, 0.25)
    (1.0, 0.75, 0.5)
    """
    return tuple(1 - k * a for k in range(periods))


def power_shares(periods: int, m: float, r: float, b: float) -> Shares:
    """1 in the first period, m k^-r + b in period k = 1, 2, ...

    >>> power_shares(3, m=0.5, r=1.0, b=0.25)
    (1.0, 0.75, 0.5)
    """
    return (1.0, *(m * math.pow(k, -r) + b for k in range(1, periods)))


def period_lengths(epochs: int, period: int) -> tuple[int, ...]:
    """How many epochs each period has; the last may be shorter.

    >>> period_lengths(7, 3)
    (3, 3, 1)
    """
    return tuple(min(period, epochs - begun) for begun in range(0, epochs, period))


def average(shares: Shares, lengths: tuple[int, ...]) -> float:
    """The mean share over the epochs, the first period included.

    >>> average((1.0, 0.5, 0.25), (2, 2, 1))
    0.65
    """
    return _total(shares, lengths) / sum(lengths)


def _total(shares: Sequence[float], lengths: Sequence[int]) -> float:
    return math.fsum(share * length for share, length in zip(shares, lengths, strict=True))


def fit_budget(shares: Shares, lengths: tuple[int, ...], keep: float, least: float = LEAST) -> Shares:
    """Add one number to all shares but the first, so that the average over the epochs is `keep`.

    The shares are made non-increasing first, and are kept inside [least, 1]. The papers mention such a
    correction, but do not describe it.

    Args:
        shares: of each period, the first is the warm-up on all samples.
        lengths: of the periods in epochs.
        keep: the average wanted, the warm-up included.
        least: the smallest share a period may have.

    Raises:
        ValueError: if no shift reaches `keep`.

    >>> [round(share, 12) for share in fit_budget((1.0, 0.5, 0.5), (1, 1, 1), 0.6)]
    [1.0, 0.4, 0.4]
    """
    first, rest = shares[0], list(shares[1:])
    for k in range(1, len(rest)):
        rest[k] = min(rest[k], rest[k - 1])
    epochs, later = sum(lengths), lengths[1:]
    lowest = (first * lengths[0] + least * sum(later)) / epochs
    highest = (first * lengths[0] + sum(later)) / epochs
    if not lowest <= keep <= highest + 1e-12:
        raise ValueError(
            f"keep must be in [{lowest:.4g}, {highest:.4g}] with a warm-up of {lengths[0]} of {epochs} "
            f"epochs, got {keep}: the schedule never reaches its budget. Train longer, or shorten the period."
        )
    wanted = keep * epochs - first * lengths[0]

    def shifted(by: float) -> list[float]:
        return [min(1.0, max(least, share + by)) for share in rest]

    low, high = least - max(rest), 1 - min(rest)
    for _ in range(100):  # to the last bit: the sum rises with the shift
        middle = (low + high) / 2
        if _total(shifted(middle), later) < wanted:
            low = middle
        else:
            high = middle
    return (first, *shifted(high))


def period_sizes(shares: Shares, lengths: tuple[int, ...], n: int) -> tuple[int, ...]:
    """Whole numbers of samples: rounded down, then one more where the remainder is largest.

    With periods of equal length their sum is the sum of shares times n, rounded. A shorter last period counts
    by its length, so the budget may not be used up by less than one period.

    >>> period_sizes((1.0, 0.45, 0.45), (1, 1, 1), 10)
    (10, 5, 4)
    """
    exact = [share * n for share in shares]
    sizes = [max(1, min(n, math.floor(size + 1e-9))) for size in exact]
    longest = max(lengths)
    unit = longest if min(lengths) == longest else 1
    spent = _total(shares, lengths) * n / unit
    left = math.floor(spent + 0.5) * unit - sum(
        size * length for size, length in zip(sizes, lengths, strict=True)
    )
    # Equal remainders go to earlier periods, so that sizes never rise.
    order = sorted(range(len(sizes)), key=lambda k: (-round(exact[k] - sizes[k], 9), k))
    for k in order:
        if left >= lengths[k] and sizes[k] < (sizes[k - 1] if k else n):
            sizes[k] += 1
            left -= lengths[k]
    while left < 0 and max(sizes[1:]) > 1:  # shares below one sample were rounded up to it
        k = max(range(1, len(sizes)), key=lambda k: (sizes[k], k))
        sizes[k] -= 1
        left += lengths[k]
    return tuple(sizes)


@checked
@dataclass(frozen=True)
class Periods(Schedule):
    """The shares of DynaMS: all samples in the first period, then a share that falls from period to period.

    Args:
        keep: the average share over all epochs, the warm-up included (see `fit`).
        kind: `constant`, `linear` (1 - k a) or `power` (m k^-r + b) in period k.
        period: its length Q in epochs; the last one may be shorter.
        data: whose published numbers are meant, where there are any.
        fit: shift the shares so that their average is exactly `keep`; False takes the published numbers
            as they are (and a constant `keep` after the warm-up).
        n: the number of samples, once it is known: shares then stand for whole numbers of them.

    A linear one that is fitted falls by a = 2 (1 - keep) / K over the K periods after the first; a
    power one has the shape of the nearest published budget.

    >>> [round(Periods(0.6, "linear", period=2).at(e, 12), 3) for e in (0, 2, 4, 6, 8, 10)]
    [1.0, 0.84, 0.68, 0.52, 0.36, 0.2]
    """

    keep: Share = 0.6
    kind: Falling = "linear"
    period: Annotated[int, Range(1)] = 10
    data: Literal["imagenet", "cifar10"] = "imagenet"
    fit: bool = True
    n: int | None = None

    def __post_init__(self) -> None:
        if not self.fit and self.kind != "constant" and self._published is None:
            known = ", ".join(str(key) for key in PUBLISHED if key[1] == self.kind)
            raise ValueError(
                "fit=False takes published numbers, but there are none for "
                f"{(self.data, self.kind, self.keep)}. Known: {known}."
            )

    @property
    def _published(self) -> dict[str, float] | None:
        return PUBLISHED.get((self.data, self.kind, self.keep))

    def within(self, epochs: int) -> "Periods":
        if self.keep == 1:
            return self
        if epochs < 2 * self.period:
            raise ValueError(
                f"period must be at most half the {epochs} epochs, because the first period is a warm-up "
                f"on all samples, got {self.period}. Train {2 * self.period} epochs, or give "
                f"period={max(1, epochs // 2)}."
            )
        self.shares(epochs)
        return self

    def sized(self, n: int) -> "Periods":
        return replace(self, n=n)

    def shares(self, epochs: int) -> Shares:
        """The share of every period, before it is a whole number of samples."""
        return _shares(replace(self, n=None), epochs)

    def at(self, epoch: int, epochs: int) -> float:
        if epochs == 1:  # its range is checked before the length of a training is known
            return self.keep
        k = epoch // self.period
        if self.n is None:
            return self.shares(epochs)[k]
        size = _sizes(self, epochs)[k]
        # Half a sample less than `size`, which every budget rounds up to it.
        return 1.0 if size == self.n else (size - 0.5) / self.n


@lru_cache(maxsize=64)
def _shares(schedule: Periods, epochs: int) -> Shares:
    lengths = period_lengths(epochs, schedule.period)
    periods, keep = len(lengths), schedule.keep
    numbers = schedule._published
    if schedule.kind == "constant":
        shares = constant_shares(periods, keep)
    elif schedule.kind == "linear":
        falls = 2 * (1 - keep) / max(1, periods - 1)
        shares = linear_shares(periods, falls if schedule.fit or numbers is None else numbers["a"])
    else:
        near = min((key for key in PUBLISHED if key[1] == "power"), key=lambda key: abs(key[2] - keep))
        shares = power_shares(periods, **(numbers or PUBLISHED[near]))
    if schedule.fit:
        return fit_budget(shares, lengths, keep)
    return tuple(min(1.0, max(LEAST, share)) for share in shares)


@lru_cache(maxsize=64)
def _sizes(schedule: Periods, epochs: int) -> tuple[int, ...]:
    return period_sizes(schedule.shares(epochs), period_lengths(epochs, schedule.period), schedule.n or 0)
