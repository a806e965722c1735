"""Choosing only among the samples that were chosen before."""

from dataclasses import dataclass

import torch

from samplewise.pickers.base import Budgeted, Pool, Rows, inside

__all__ = ["Nested"]


@dataclass(frozen=True)
class Nested(Budgeted):
    """Another picker whose candidates are those it chose the last time; its budget is a share of all."""

    inner: Budgeted

    @property
    def nonnegative(self) -> bool:  # type: ignore[override]
        """As the inner picker."""
        return self.inner.nonnegative

    @property
    def keep(self) -> float:  # type: ignore[override]
        """The inner picker's."""
        return self.inner.keep  # type: ignore[return-value]

    def take(self, pool: Pool, k: int) -> Rows:
        before = torch.arange(pool.m) if pool.before is None else pool.before
        if k >= len(before):
            return before
        return before[self.inner.take(inside(pool, before), k)]
