"""Choosing only among the samples that were chosen before."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from samplewise.pickers.base import Around, Budgeted, Pool, Rows, inside

__all__ = ["Nested"]


@dataclass(frozen=True)
class Nested(Around):
    """Another picker that chooses only among the samples of its last choice; its budget is a share of all."""

    inner: Budgeted
    nested: ClassVar[bool] = True

    def take(self, pool: Pool, k: int) -> Rows:
        before = torch.arange(pool.m) if pool.before is None else pool.before
        if k >= len(before):
            return before
        return before[self.inner.take(inside(pool, before), k)]
