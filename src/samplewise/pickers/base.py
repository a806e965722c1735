"""What a picker is, the pool it chooses from, and a picker inside each class."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range
from samplewise.pickers import ranking
from samplewise.schedules import Schedule, number

__all__ = ["Budgeted", "PerClass", "Picked", "Picker", "Pool", "Rows", "inside"]

Keep = Annotated[float | Schedule, Range(0, 1, open_low=True)]
Rows = Int[Tensor, " k"]


class Pool(NamedTuple):
    """The candidates: m of them, what is remembered of each, and a private generator.

    `ids` order equal scores inside a batch (without them the position does); `least` rows are kept
    whatever the share; `labels` (m,) are there if the data set has them; `before` are the rows chosen
    the last time, None if that was all.
    """

    m: int
    rng: torch.Generator
    values: Mapping[str, Tensor] = MappingProxyType({})
    ranks: str | None = None
    ids: Tensor | None = None
    labels: Tensor | None = None
    least: int = 0
    before: Rows | None = None

    def scores(self, by: str | None) -> Tensor:
        """The column `by`, or the one the tracker ranks by; NaN for all while nothing was observed."""
        name = by or self.ranks
        if not self.values:
            return torch.full((self.m,), float("nan"))
        if name is None or name not in self.values:
            raise ValueError(f"a picker ranks by {name!r}, but the memory holds {sorted(self.values)}")
        return self.values[name]


class Picked(NamedTuple):
    """Rows of the pool, ascending, and a weight for each; None stands for all, and for all 1."""

    rows: Rows | None = None
    weights: Float[Tensor, " k"] | None = None


class Picker(ABC):
    """A choice; subclass it as a frozen dataclass of parameters."""

    nonnegative: ClassVar[bool] = False
    """Whether the scores must be non-negative, so that a negative loss is refused when it is seen."""
    on_device: ClassVar[bool] = False
    """Whether it picks where the scores are, so that an accelerator need not wait for a batch's choice."""

    @abstractmethod
    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        """How many of m it keeps, and whether that is exact or an upper bound until the scores are known."""

    @abstractmethod
    def pick(self, pool: Pool) -> Picked:
        """Choose from the pool."""

    def settle(self, state: dict[str, Tensor]) -> "Picker":
        """The picker in force this epoch, given what is remembered when the epoch begins."""
        return self

    def refuse(self, m: int) -> None:  # noqa: B027 - most pickers can choose from any number
        """Raise if it could not choose from m candidates, whatever their scores."""

    def columns(self, pool: Pool) -> dict[str, Tensor]:
        """Score columns that come out of choosing itself, for static methods: made once, when final."""
        return {}

    @property
    def everything(self) -> bool:
        """Whether it is certain to keep all, so that no score is needed."""
        return self.size(1 << 20) == (1 << 20, True)


class Budgeted(Picker):
    """A picker that keeps an exact share."""

    keep: float | Schedule

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return ranking.budget(m, number(self.keep), least), True

    def pick(self, pool: Pool) -> Picked:
        k, _ = self.size(pool.m, pool.least)
        return Picked() if k == pool.m else Picked(self.take(pool, k))

    @property
    def everything(self) -> bool:
        return self.keep == 1

    @abstractmethod
    def take(self, pool: Pool, k: int) -> Rows:
        """Exactly k rows, ascending."""


@dataclass(frozen=True)
class PerClass(Picker):
    """Another picker inside each class, the budget divided by largest remainder: exact in total."""

    inner: Budgeted

    @property
    def nonnegative(self) -> bool:  # type: ignore[override]
        """As the inner picker."""
        return self.inner.nonnegative

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return self.inner.size(m, least)

    def pick(self, pool: Pool) -> Picked:
        k, _ = self.size(pool.m, pool.least)
        classes = self._classes(pool)
        if k == pool.m:
            return Picked()
        quotas = ranking.largest_remainder(k, torch.tensor([len(members) for members in classes]))
        rows = [
            members if quota == len(members) else members[self.inner.take(inside(pool, members), quota)]
            for members, quota in zip(classes, quotas.tolist(), strict=True)
        ]
        return Picked(torch.cat(rows).sort().values)

    def columns(self, pool: Pool) -> dict[str, Tensor]:
        made: dict[str, Tensor] = {}
        for members in self._classes(pool):
            for name, column in self.inner.columns(inside(pool, members)).items():
                made.setdefault(name, column.new_empty(pool.m))[members] = column
        return made

    def _classes(self, pool: Pool) -> tuple[Rows, ...]:
        """The rows of every class number."""
        if pool.labels is None:
            raise ValueError("PerClass needs labels: Selector(..., labels=tensor of n class numbers).")
        return torch.split(pool.labels.argsort(stable=True), pool.labels.bincount().tolist())


def inside(pool: Pool, members: Rows) -> Pool:
    """The pool of some rows."""
    return pool._replace(
        m=len(members),
        values={name: column[members] for name, column in pool.values.items()},
        ids=None if pool.ids is None else pool.ids[members],
        labels=None,
        before=None,
    )
