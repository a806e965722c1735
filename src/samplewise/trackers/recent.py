"""The memory of Selective Backprop: the last loss of each sample, and the last losses of all samples."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.data.ids import first_of_each
from samplewise.trackers.base import Ids, State, Tracker, Values, at, write
from samplewise.trackers.columns import Column

__all__ = ["Percentile"]


@checked
@dataclass(frozen=True)
class Percentile(Tracker):
    """The share of the last `history` values, of all samples, that lie strictly below a sample's last one.

    Column `percentile`, in [0, 1), computed from the column of last values when it is read. The values of a
    call are added to the last ones before the percentiles of its samples are computed. Each process keeps the
    last values of its own batches. Memory: 4 bytes a sample, and 4 for each of `history` values.
    """

    history: Annotated[int, Range(1, 65_536)] = 1024
    whole_batches: ClassVar[bool] = True

    @property
    def ranks(self) -> str:
        return "percentile"

    def columns(self, values: Values) -> dict[str, Column]:
        recent = Column(shape=(self.history,), join="local", per_sample=False)
        return {"last": Column(), "recent": recent}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (new,) = values.values()
        write(state["last"], ids, new)
        if len(ids):
            # A sampler may repeat a sample to pad its batch: it counts once.
            latest = state["last"].index_select(0, ids[first_of_each(ids)])[-self.history :]
            kept = state["recent"][len(latest) :]
            state["recent"] = torch.cat([kept, latest])
        return ids, {"percentile": self._percentile(state, new)}

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        return {"percentile": self._percentile(state, at(state["last"], ids))}

    def _percentile(self, state: State, values: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        recent = state["recent"]
        if recent.is_cpu:  # numpy sorts so few numbers in a fraction of torch's time, NaN last
            sorted_values = np.sort(recent.numpy())
            count = max(1, int(np.searchsorted(sorted_values, np.nan)))
            smaller = torch.from_numpy(np.searchsorted(sorted_values, values.to(recent.dtype).numpy()))
            return torch.where(values.isnan(), values, smaller / count)
        empty = recent.isnan()  # slots that are not filled yet sort last
        ascending = recent.masked_fill(empty, torch.inf).sort().values
        below = torch.searchsorted(ascending, values.to(recent.dtype).contiguous())
        known = (~empty).sum().clamp(min=1)
        return torch.where(values.isnan(), values, below / known)
