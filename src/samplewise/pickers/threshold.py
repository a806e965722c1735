"""Keep every row whose score reaches a threshold, so the number of rows varies."""

from dataclasses import dataclass
from typing import Annotated

from samplewise.checks import Range, checked
from samplewise.data.bits import Bits
from samplewise.pickers import pieces, ranking
from samplewise.pickers.base import Marked, Picked, Picker, Pool
from samplewise.schedules import Schedule, number

__all__ = ["AtLeast"]

_LEAST = 2


@checked
@dataclass(frozen=True)
class AtLeast(Picker):
    """Keeps each row whose score is `threshold` or more, and each row without a score.

    At least 2 rows are kept: if fewer reach the threshold, those with the highest scores, equal ones in the
    order of the samples. Batch normalization fails with one row, and an epoch needs a step.
    """

    threshold: Annotated[float | Schedule, Range(0)]
    by: str | None = None

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return m, False

    def pick(self, pool: Pool) -> Picked:
        scores = pool.scores(self.by)
        rows = (~(scores < number(self.threshold))).nonzero().squeeze(1)
        if len(rows) < min(least := max(_LEAST, pool.least), pool.m):
            rows = ranking.top(scores, least, pool.ids)
        return Picked() if len(rows) == pool.m else Picked(rows)

    def mark(self, pool: Pool) -> Marked:
        column, threshold = pool.column(self.by), number(self.threshold)
        rows = pieces.where(pool.m, column, lambda scores: ~(scores < threshold))
        if len(rows) < min(least := max(_LEAST, pool.least), pool.m):
            rows = pieces.top(pool.m, column, least)
        return Marked(Bits(pool.m) if len(rows) == pool.m else rows)
