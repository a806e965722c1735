"""The memory of DynaMS: the margins of one pass, until they have been chosen from."""

from dataclasses import dataclass

import torch

from samplewise.trackers.base import Ids, State, Tracker, Values, at, column, only, write

__all__ = ["Margins"]


@dataclass(frozen=True)
class Margins(Tracker):
    """Every class margin (n, c), column after column in memory, and `nearest`: minus the least of each.

    The margins, 4 c bytes a sample, are dropped as soon as a picker has chosen; 4 bytes stay.
    """

    @property
    def ranks(self) -> str:
        return "nearest"

    def start(self, n: int, values: Values) -> State:
        like = only(values, "Margins")
        return {"nearest": column(n, like[:, 0]), "margins": _columns(n, like)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        seen = only(values, "Margins")
        if "margins" not in state:
            state["margins"] = _columns(len(state["nearest"]), seen)
        write(state["margins"], ids, seen)
        write(state["nearest"], ids, -seen.amin(1))
        return ids, {}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {name: at(kept, ids) for name, kept in state.items()}

    def chosen(self, state: State) -> None:
        state.pop("margins", None)


def _columns(n: int, like: torch.Tensor) -> torch.Tensor:
    """(n, c) numbers of which each column lies together in memory, as picking reads them."""
    kept = torch.full((like.shape[1], n), float("nan"), dtype=torch.float32, device=like.device)
    return kept.T
