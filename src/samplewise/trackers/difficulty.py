"""The memory of DUAL: how difficult and how uncertain a sample is early in training (arXiv:2502.06905)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.trackers.base import (
    Ids,
    State,
    Values,
    add_seen,
    counted,
    mean_so_far,
    open_epoch,
    refuse_longer,
    refuse_short,
    ring,
    scaled,
)
from samplewise.trackers.columns import Column
from samplewise.trackers.dynamics import Windowed

__all__ = ["DifficultySpread"]


@checked
@dataclass(frozen=True)
class DifficultySpread(Windowed):
    """Mean over windows of (1 - mean) x standard deviation, column `score`; the signal's mean, `probability`.

    It follows a probability for T epochs. Each run of `window` epochs gives one product of 1 - mean and the
    unbiased standard deviation of that window. A window in which a sample was missing does not count for
    that sample. `probability` is the mean over all recorded epochs in which the sample was seen.

    Memory: 4 K + 16 bytes a sample while recording (K = `window`), 8 when final.

    Args:
        T: the number of epochs recorded. None: `published[0]`, scaled from `length` epochs to the training,
            and at least one window.
        window: None: `published[1]`, or T if that is shorter.
        published: (T, window) for a training of `length` epochs.
    """

    T: Annotated[int | None, Range(2)] = None
    window: Annotated[int | None, Range(2)] = None
    published: tuple[int, int] = (30, 10)
    length: Annotated[int, Range(1)] = 200

    def __post_init__(self) -> None:
        refuse_longer("DifficultySpread", self.T, self.window)

    @property
    def ranks(self) -> str:
        return "score"

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"K": self.window or self.published[1]}

    @property
    def enough(self) -> int | None:
        return self.T

    def within(self, epochs: int) -> "DifficultySpread":
        if self.T is not None:
            refuse_short("DifficultySpread.T", self.T, epochs)
        recorded = epochs if self.T is None else self.T
        window = max(2, min(self.published[1], recorded)) if self.window is None else self.window
        refuse_short("DifficultySpread.window", window, epochs)
        here = scaled(self.published[0], epochs, self.length)
        last = max(window, min(here, epochs)) if self.T is None else self.T
        return replace(self, T=last, window=window)

    def columns(self, values: Values) -> dict[str, Column]:
        return {
            **ring(self.sizes["K"]),
            **counted(),
            **counted("sum", "seen"),
            "score": Column(shape=(), since="final"),
            "probability": Column(shape=(), since="final"),
        }

    def of_window(self, window: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        return (1 - window.mean(1)) * window.std(1, correction=1)

    def close(self, state: State) -> None:
        add_seen(state, open_epoch(state), "sum", "seen")
        super().close(state)

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        return {"score": mean_so_far(state, ids), "probability": mean_so_far(state, ids, "sum", "seen")}
