"""Additive smoothing: adds a constant, or a share of a running mean, to every value."""

from dataclasses import dataclass
from typing import Annotated

import torch

from samplewise.checks import Range, checked
from samplewise.schedules import Schedule, number
from samplewise.trackers.base import Ids, State, Tracker, Values, at
from samplewise.trackers.columns import Column

__all__ = ["Smoothed"]


@checked
@dataclass(frozen=True)
class Smoothed(Tracker):
    """The value of the tracker before it plus a constant, column `smoothed`. Memory: 0 bytes a sample.

    Must follow `Last` of one signal, whose column `of` it reads.

    Args:
        amount: the number that is added.
        rate: the weight of the newest batch in a running mean of the batches' mean values. `amount` is then
            the share of that mean that is added. The mean starts at the first batch; each process follows its
            own batches. None: no running mean.
        of: the column.
    """

    amount: Annotated[float, Range(0)]
    rate: Annotated[float | Schedule | None, Range(0, 1)] = None
    of: str = "loss"

    @property
    def ranks(self) -> str:
        return "smoothed"

    def columns(self, values: Values) -> dict[str, Column]:
        mean = Column(torch.float64, shape=(), join="local", per_sample=False)
        return {} if self.rate is None else {"running_mean": mean}

    def start(self, n: int, values: Values) -> State:
        if self.of not in values:
            raise ValueError(
                f"Smoothed must follow a tracker of {self.of}, got {sorted(values)}. "
                "Use Last() | Smoothed(amount)."
            )
        return super().start(n, values)

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (value,) = values.values()
        if self.rate is not None and len(ids):
            # By id, so that an id that pads the batch counts once.
            new = state[self.of].index_select(0, torch.unique(ids)).double().mean()
            mean = state["running_mean"]
            state["running_mean"] = torch.where(mean.isnan(), new, mean + number(self.rate) * (new - mean))
        return ids, {"smoothed": value.float() + self._added(state)}

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        return {"smoothed": at(state[self.of], ids) + self._added(state)}

    def _added(self, state: State) -> torch.Tensor | float:
        return self.amount if self.rate is None else (self.amount * state["running_mean"]).float()
