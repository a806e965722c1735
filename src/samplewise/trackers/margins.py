"""The memory of DynaMS: the margins of one pass, which are dropped after the choice."""

from dataclasses import dataclass

import torch

from samplewise.trackers.base import Ids, State, Tracker, Values, put
from samplewise.trackers.columns import Column

__all__ = ["Margins"]


@dataclass(frozen=True)
class Margins(Tracker):
    """All class margins (n, C), stored class by class, and `nearest`: minus the smallest one of each sample.

    Memory: 4 C + 4 bytes a sample while recording, 4 after a picker has chosen.
    """

    @property
    def ranks(self) -> str:
        return "nearest"

    def columns(self, values: Values) -> dict[str, Column]:
        return {
            "nearest": Column(torch.float32, shape=()),
            "margins": Column(torch.float32, until="choice", columnwise=True),
        }

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (seen,) = values.values()
        if "margins" not in state:
            state["margins"] = self.columns(values)["margins"].empty(len(state["nearest"]), seen)
        put(state, ids, {"margins": seen, "nearest": -seen.amin(1)})
        return ids, {}
