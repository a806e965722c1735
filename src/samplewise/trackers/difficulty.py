"""The memory of DUAL: how difficult and how uncertain a sample is early in training (arXiv:2502.06905)."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch

from samplewise.checks import Range, checked
from samplewise.trackers.base import (
    Ids,
    State,
    Tracker,
    Values,
    add_seen,
    column,
    keep_only,
    mean_so_far,
    only,
    open_epoch,
    refuse_short,
    ring,
    write,
)

__all__ = ["DifficultySpread"]


@checked
@dataclass(frozen=True)
class DifficultySpread(Tracker):
    """Mean over windows of (1 - mean) x standard deviation, column `score`; the signal's mean, `probability`.

    It follows a probability for T epochs. Each `window` = J of consecutive epochs gives one product of
    1 - mean and the unbiased standard deviation of that window. A window in which a sample was missing
    does not count for it. `probability` is the mean over all recorded epochs in which the sample was seen.

    4 K + 16 bytes a sample while recording (K = `window`), 8 when final.

    Args:
        T: the epochs recorded. None scales `published[0]` from `length` epochs to the training's, and
            records a whole window at least.
        window: None is `published[1]`, or T if that is shorter.
        published: (T, window) for a training of `length` epochs.
    """

    T: Annotated[int | None, Range(2)] = None
    window: Annotated[int | None, Range(2)] = None
    published: tuple[int, int] = (30, 10)
    length: Annotated[int, Range(1)] = 200

    written: ClassVar[tuple[str, ...] | None] = ("values",)

    def __post_init__(self) -> None:
        if isinstance(self.T, int) and isinstance(self.window, int) and self.window > self.T:
            raise ValueError(
                f"DifficultySpread.T must be at least the window of {self.window}, got {self.T}. "
                "Give a larger T or a smaller window."
            )

    @property
    def ranks(self) -> str:
        return "score"

    @property
    def enough(self) -> int | None:
        return self.T

    def within(self, epochs: int) -> "DifficultySpread":
        if self.T is not None:
            refuse_short("DifficultySpread.T", self.T, epochs)
        recorded = epochs if self.T is None else self.T
        window = max(2, min(self.published[1], recorded)) if self.window is None else self.window
        refuse_short("DifficultySpread.window", window, epochs)
        scaled = int(self.published[0] * epochs / self.length + 0.5)
        last = max(window, min(scaled, epochs)) if self.T is None else self.T
        return replace(self, T=last, window=window)

    def start(self, n: int, values: Values) -> State:
        like = only(values, "DifficultySpread")
        counts = torch.zeros(n, dtype=torch.int32, device=like.device)
        return {
            "values": ring(n, like, self.window or self.published[1]),
            "total": column(n, like, 0.0),
            "times": counts,
            "sum": column(n, like, 0.0),
            "seen": counts.clone(),
            "epoch": torch.zeros((), dtype=torch.int64, device=like.device),
        }

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        write(open_epoch(state), ids, only(values, "DifficultySpread"))
        return ids, {}

    def close(self, state: State) -> None:
        add_seen(state, open_epoch(state), "sum", "seen")
        state["epoch"] += 1
        window = state["values"]
        if int(state["epoch"]) >= window.shape[1]:
            add_seen(state, (1 - window.mean(1)) * window.std(1, correction=1))
        self.restart(state)

    def restart(self, state: State) -> None:
        open_epoch(state).fill_(float("nan"))

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {
            "score": mean_so_far(state, "score", ids),
            "probability": mean_so_far(state, "probability", ids, "sum", "seen"),
        }

    def finish(self, state: State) -> None:
        keep_only(state, DifficultySpread.read(self, state))
