"""Trackers that make one score of many epochs.

An epoch counts when it closes. Until then its values are in a column of their own, so that an epoch that
begins again does not count twice. When a score is final only its column is left.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.trackers.base import (
    Ids,
    State,
    Tracker,
    Values,
    add_seen,
    at,
    counted,
    mean_so_far,
    open_epoch,
    refuse_short,
    ring,
    write,
)
from samplewise.trackers.columns import Column

__all__ = ["Forgotten", "Mean", "Never", "WindowSpread", "Windowed"]

Never = Literal["inf", "zero", "epochs"]
_UNSEEN = -1


@checked
@dataclass(frozen=True)
class Mean(Tracker):
    """Mean of a signal over the epochs in which a sample was seen, column `mean`.

    Over the `first` epochs; without it over all of them, or over at most `most`.
    Memory: 12 bytes a sample while recording, 4 when final.
    """

    first: Annotated[int | None, Range(1)] = None
    most: Annotated[int | None, Range(1)] = None

    @property
    def ranks(self) -> str:
        return "mean"

    @property
    def enough(self) -> int | None:
        return self.first

    def within(self, epochs: int) -> "Mean":
        if self.first is None:
            return self if self.most is None else replace(self, first=min(self.most, epochs), most=None)
        refuse_short("Mean.first", self.first, epochs)
        return replace(self, most=None)

    def columns(self, values: Values) -> dict[str, Column]:
        return {"now": Column(until="final"), **counted(), "mean": Column(since="final")}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (new,) = values.values()
        write(state["now"], ids, new)
        return ids, {}

    def close(self, state: State) -> None:
        add_seen(state, state["now"])
        state["now"].fill_(float("nan"))

    def restart(self, state: State) -> None:
        state["now"].fill_(float("nan"))

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        return {"mean": mean_so_far(state, ids)}


@checked
@dataclass(frozen=True)
class Forgotten(Tracker):
    """How often `correct` fell from right to wrong between two visits, column `forgotten`.

    Before its first visit a sample counts as wrong. `never` is the value of a sample that was observed
    but never right: +inf, 0, or its count plus the number of epochs.
    Memory: 7 bytes a sample while recording, 4 when final.
    """

    never: Never = "inf"

    @property
    def ranks(self) -> str:
        return "forgotten"

    def columns(self, values: Values) -> dict[str, Column]:
        seen = Column(torch.int8, shape=(), first=_UNSEEN, until="final")
        own = replace(seen, join="same")
        return {
            "now": seen,
            "before": own,
            "learned": replace(own, dtype=torch.bool, first=0),
            "count": replace(own, dtype=torch.int32, first=0),
            "epochs": replace(own, dtype=torch.int64, first=0, per_sample=False),
            "forgotten": Column(torch.float32, shape=(), since="final"),
        }

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (new,) = values.values()
        write(state["now"], ids, new != 0)
        return ids, {}

    def close(self, state: State) -> None:
        now, before = state["now"], state["before"]
        state["count"] += (before == 1) & (now == 0)
        state["learned"] |= now == 1
        before.copy_(torch.where(now == _UNSEEN, before, now))
        now.fill_(_UNSEEN)
        state["epochs"] += 1

    def restart(self, state: State) -> None:
        state["now"].fill_(_UNSEEN)

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        count = at(state["count"], ids).float()
        if self.never == "zero":
            found = count
        else:
            stubborn = (
                torch.full_like(count, float("inf")) if self.never == "inf" else count + state["epochs"]
            )
            found = torch.where(at(state["learned"], ids), count, stubborn)
        return {"forgotten": torch.where(at(state["before"], ids) == _UNSEEN, float("nan"), found)}


class Windowed(Tracker):
    """The last epochs of a signal as a ring of columns, and a number of every full window added up."""

    @abstractmethod
    def of_window(self, window: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        """The number of one window of every sample; NaN where an epoch is missing."""

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (new,) = values.values()
        write(open_epoch(state), ids, new)
        return ids, {}

    def close(self, state: State) -> None:
        state["epoch"] += 1
        if int(state["epoch"]) >= state["values"].shape[1]:
            add_seen(state, self.of_window(state["values"]))
        self.restart(state)

    def restart(self, state: State) -> None:
        open_epoch(state).fill_(float("nan"))


@checked
@dataclass(frozen=True)
class WindowSpread(Windowed):
    """Mean over all windows of `window` epochs of a signal's unbiased standard deviation, column `spread`.

    Without `window` it is `most`, or the length of a shorter training, but at least 2. A window in which a
    sample was missing does not count for it.
    Memory: 4 K + 8 bytes a sample while recording (K = `window`), 4 when final.
    """

    window: Annotated[int | None, Range(2)] = None
    most: Annotated[int, Range(2)] = 10

    @property
    def ranks(self) -> str:
        return "spread"

    def within(self, epochs: int) -> "WindowSpread":
        window = max(2, min(self.most, epochs)) if self.window is None else self.window
        refuse_short("WindowSpread.window", window, epochs)
        return replace(self, window=window)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"K": self.window or self.most}

    def columns(self, values: Values) -> dict[str, Column]:
        return {**ring(self.sizes["K"]), **counted(), "spread": Column(shape=(), since="final")}

    def of_window(self, window: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        return window.std(1, correction=1)

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        return {"spread": mean_so_far(state, ids)}
