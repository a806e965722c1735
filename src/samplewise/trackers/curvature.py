"""The second difference of a sample's losses: the memory of instance-dependent early stopping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch

from samplewise.checks import Range, checked
from samplewise.trackers.base import Ids, State, Tracker, Values, at, put
from samplewise.trackers.columns import Column

__all__ = ["SecondDifference"]


@checked
@dataclass(frozen=True)
class SecondDifference(Tracker):
    """Mean of |x_t - 2 x_(t-1) + x_(t-2)| over a sample's last values, column `second_difference`.

    One value counts between two choices: if a sample is observed again before the next choice, its newest
    value is replaced. NaN until a sample has `differences + 2` values.
    Memory: 4 K + 1 bytes a sample (K = `differences` + 2).

    Args:
        differences: how many second differences the mean is over, the newest ones.
    """

    differences: Annotated[int, Range(1)] = 1

    @property
    def ranks(self) -> str:
        return "second_difference"

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"K": self.differences + 2}

    def columns(self, values: Values) -> dict[str, Column]:
        newest_last = Column(shape=(self.differences + 2,))
        return {"values": newest_last, "fresh": Column(torch.bool, shape=())}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (new,) = values.values()
        kept = state["values"].index_select(0, ids)
        fresh = state["fresh"].index_select(0, ids)
        before = torch.where(fresh[:, None], kept[:, :-1], kept[:, 1:])
        newest = torch.cat([before, new.to(kept.dtype)[:, None]], 1)
        put(state, ids, {"values": newest, "fresh": torch.ones_like(fresh)})
        return ids, {"second_difference": self._of(newest)}

    def chosen(self, state: State) -> None:
        state["fresh"].fill_(False)

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        return {"second_difference": self._of(at(state["values"], ids))}

    def _of(self, values: torch.Tensor) -> torch.Tensor:
        return values.diff(n=2, dim=1).abs().mean(1)
