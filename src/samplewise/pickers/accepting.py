"""Accept rows one by one, each with its own random draw, so the number of rows varies."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.pickers import ranking
from samplewise.pickers.base import Picked, Picker, Pool, Rows
from samplewise.schedules import Schedule, number

__all__ = ["Accepted", "accepted"]


@checked
@dataclass(frozen=True)
class Accepted(Picker):
    """Accepts each row with probability score ** power, for scores in [0, 1], and each row without a score.

    If fewer rows are accepted than a batch needs, the rows with the highest scores are added, equal ones in
    the order of the samples. power = 0 accepts all.
    """

    power: Annotated[float | Schedule, Range(0)] = 1.0
    by: str | None = None
    random: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = True

    def size(self, m: int, least: int = 0) -> tuple[int, bool]:
        return m, self.power == 0

    def pick(self, pool: Pool) -> Picked:
        if self.power == 0:
            return Picked()
        chances = pool.scores(self.by).double().pow(number(self.power))
        return Picked(accepted(chances.nan_to_num(1.0), pool.least, pool.rng, pool.ids))


def accepted(chances: Tensor, least: int, rng: torch.Generator, ids: Tensor | None = None) -> Rows:
    """Rows accepted with probability `chances` (m,), ascending; the highest are added up to `least` rows."""
    drawn = torch.rand(len(chances), dtype=torch.float64, generator=rng).to(chances.device)
    rows = (drawn < chances).nonzero().squeeze(1)
    if len(rows) >= min(least, len(chances)):
        return rows
    return ranking.top(chances.index_fill(0, rows, torch.inf), least, ids)
