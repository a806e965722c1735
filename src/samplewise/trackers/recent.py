"""The memory of Selective Backprop: each sample's last loss, and the last losses of all of them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.trackers.base import Ids, State, Tracker, Values, at, column, only, write

__all__ = ["Percentile"]


@checked
@dataclass(frozen=True)
class Percentile(Tracker):
    """The share of the last `history` values, of all samples, that lie strictly below a sample's last one.

    Column `percentile`, in [0, 1), computed when it is read from the column of last values. The values of a
    call count among the last ones before the percentiles of its samples are read. 4 bytes a sample, and 4 for
    each of `history` values, which every process keeps of its own batches.
    """

    history: Annotated[int, Range(1, 65_536)] = 1024
    whole_batches: ClassVar[bool] = True

    @property
    def ranks(self) -> str:
        return "percentile"

    @property
    def beside(self) -> tuple[str, ...]:
        return ("recent",)

    def start(self, n: int, values: Values) -> State:
        like = only(values, "Percentile")
        return {"last": column(n, like), "recent": column(self.history, like)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        new = only(values, "Percentile")
        write(state["last"], ids, new)
        if len(ids):
            # A sample that a sampler repeats to pad its batch is one sample.
            latest = state["last"].index_select(0, _once(ids))[-self.history :]
            kept = state["recent"][len(latest) :]
            state["recent"] = torch.cat([kept, latest])
        return ids, {"percentile": self._percentile(state, new)}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        values = at(state["last"], ids)
        return {"percentile": self._percentile(state, values), "last": values}

    def _percentile(self, state: State, values: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        recent = state["recent"]
        empty = recent.isnan()  # where the memory is not full yet: below nothing
        ascending = recent.masked_fill(empty, torch.inf).sort().values
        below = torch.searchsorted(ascending, values.to(recent.dtype).contiguous())
        known = (~empty).sum().clamp(min=1)
        return torch.where(values.isnan(), values, below / known)


def _once(ids: Ids) -> Int[Tensor, " u"]:
    """The ids in their order, each where it comes first."""
    order = ids.argsort(stable=True)
    ascending = ids[order]
    again = torch.zeros_like(order, dtype=torch.bool)
    again[order[1:]] = ascending[1:] == ascending[:-1]
    return ids[~again]
