"""Trackers of whole epochs: what each of many epochs showed of a sample, boiled down to one score.

An epoch counts when it closes. Until then its values lie in a column of their own, so that an epoch
which begins again from its start is not counted twice. Once a score is final only its column is left.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch

from samplewise.checks import Range, checked
from samplewise.trackers.base import (
    Ids,
    State,
    Tracker,
    Values,
    add_seen,
    at,
    column,
    keep_only,
    mean_so_far,
    only,
    open_epoch,
    refuse_short,
    ring,
    write,
)

__all__ = ["Forgotten", "Mean", "Never", "WindowSpread"]

Never = Literal["inf", "zero", "epochs"]
_UNSEEN = -1


@checked
@dataclass(frozen=True)
class Mean(Tracker):
    """Mean of a signal over the epochs in which a sample was seen, column `mean`.

    Over the `first` epochs; over all of them without it, or over at most `most`. 12 bytes a sample
    while recording, 4 when final.
    """

    first: Annotated[int | None, Range(1)] = None
    most: Annotated[int | None, Range(1)] = None

    written: ClassVar[tuple[str, ...] | None] = ("now",)

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

    def start(self, n: int, values: Values) -> State:
        like = only(values, "Mean")
        times = torch.zeros(n, dtype=torch.int32, device=like.device)
        return {"now": column(n, like), "total": column(n, like, 0.0), "times": times}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        write(state["now"], ids, only(values, "Mean"))
        return ids, {}

    def close(self, state: State) -> None:
        add_seen(state, state["now"])
        state["now"].fill_(float("nan"))

    def restart(self, state: State) -> None:
        state["now"].fill_(float("nan"))

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {"mean": mean_so_far(state, "mean", ids)}

    def finish(self, state: State) -> None:
        keep_only(state, Mean.read(self, state))


@checked
@dataclass(frozen=True)
class Forgotten(Tracker):
    """How often `correct` fell from right to wrong between two presentations, column `forgotten`.

    Before its first presentation a sample counts as wrong. `never` is what a sample gets that was
    seen but never right: +inf, 0, or its count plus the number of epochs. 7 bytes a sample while
    recording, 4 when final.
    """

    never: Never = "inf"

    written: ClassVar[tuple[str, ...] | None] = ("now",)

    @property
    def ranks(self) -> str:
        return "forgotten"

    def start(self, n: int, values: Values) -> State:
        device = only(values, "Forgotten").device
        unseen = torch.full((n,), _UNSEEN, dtype=torch.int8, device=device)
        return {
            "now": unseen,
            "before": unseen.clone(),
            "learned": torch.zeros(n, dtype=torch.bool, device=device),
            "count": torch.zeros(n, dtype=torch.int32, device=device),
            "epochs": torch.zeros((), dtype=torch.int64, device=device),
        }

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        write(state["now"], ids, only(values, "Forgotten") != 0)
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

    def read(self, state: State, ids: Ids | None = None) -> Values:
        if "forgotten" in state:
            return {"forgotten": at(state["forgotten"], ids)}
        count = at(state["count"], ids).float()
        if self.never == "zero":
            found = count
        else:
            stubborn = (
                torch.full_like(count, float("inf")) if self.never == "inf" else count + state["epochs"]
            )
            found = torch.where(at(state["learned"], ids), count, stubborn)
        return {"forgotten": torch.where(at(state["before"], ids) == _UNSEEN, float("nan"), found)}

    def finish(self, state: State) -> None:
        keep_only(state, Forgotten.read(self, state))


@checked
@dataclass(frozen=True)
class WindowSpread(Tracker):
    """Mean over all windows of `window` epochs of a signal's unbiased standard deviation, column `spread`.

    Without `window` at most `most`, and no more than the training has; a spread needs two. A window
    in which a sample was missing does not count for it. 4 K + 8 bytes a sample while recording (K =
    `window`), 4 when final.
    """

    window: Annotated[int | None, Range(2)] = None
    most: Annotated[int, Range(2)] = 10

    written: ClassVar[tuple[str, ...] | None] = ("values",)

    @property
    def ranks(self) -> str:
        return "spread"

    def within(self, epochs: int) -> "WindowSpread":
        window = max(2, min(self.most, epochs)) if self.window is None else self.window
        refuse_short("WindowSpread.window", window, epochs)
        return replace(self, window=window)

    def start(self, n: int, values: Values) -> State:
        like = only(values, "WindowSpread")
        return {
            "values": ring(n, like, self.window or self.most),
            "total": column(n, like, 0.0),
            "times": torch.zeros(n, dtype=torch.int32, device=like.device),
            "epoch": torch.zeros((), dtype=torch.int64, device=like.device),
        }

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        write(open_epoch(state), ids, only(values, "WindowSpread"))
        return ids, {}

    def close(self, state: State) -> None:
        state["epoch"] += 1
        if int(state["epoch"]) >= state["values"].shape[1]:
            add_seen(state, state["values"].std(1, correction=1))
        self.restart(state)

    def restart(self, state: State) -> None:
        open_epoch(state).fill_(float("nan"))

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {"spread": mean_so_far(state, "spread", ids)}

    def finish(self, state: State) -> None:
        keep_only(state, WindowSpread.read(self, state))
