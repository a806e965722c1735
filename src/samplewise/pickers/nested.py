"""Choosing only among the samples that were chosen before."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from samplewise.pickers.base import Budgeted, Pool, Rows, inside
from samplewise.schedules import Schedule

__all__ = ["Nested"]


@dataclass(frozen=True)
class Nested(Budgeted):
    """Another picker whose candidates are those it chose the last time; its budget is a share of all."""

    inner: Budgeted
    nested: ClassVar[bool] = True

    @property
    def nonnegative(self) -> bool:  # type: ignore[override]
        """As the inner picker."""
        return self.inner.nonnegative

    @property
    def random(self) -> bool:  # type: ignore[override]
        """As the inner picker."""
        return self.inner.random

    @property
    def by(self) -> str | None:  # type: ignore[override]
        """As the inner picker."""
        return self.inner.by

    def with_keep(self, keep: float) -> "Nested":
        return replace(self, inner=self.inner.with_keep(keep))

    @property
    def keep(self) -> float | Schedule:  # type: ignore[override]
        """The inner picker's."""
        return self.inner.keep

    def take(self, pool: Pool, k: int) -> Rows:
        before = torch.arange(pool.m) if pool.before is None else pool.before
        if k >= len(before):
            return before
        return before[self.inner.take(inside(pool, before), k)]
