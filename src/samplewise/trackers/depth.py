"""The memory of TDDS: how much a sample's predictions move, and how unevenly (arXiv:2311.13613)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.data.ids import few
from samplewise.trackers.base import Ids, State, Tracker, Values, refuse_longer, refuse_short, scaled, write
from samplewise.trackers.columns import Column

__all__ = ["Absolute", "Depth", "DualDepth", "WindowAverage"]

Depth = Literal["kl", "ce", "el2n"]
Absolute = Literal["inside", "outside", "none"]
WindowAverage = Literal["ema", "mean"]

_EPS = 1e-8
_AT_ONCE = 1 << 18  # numbers of a snapshot in one chunk, so that a chunk fits the cache


@checked
@dataclass(frozen=True)
class DualDepth(Tracker):
    """Spread of the change from epoch to epoch inside windows, averaged over the windows, column `score`.

    Depth 1 is the change between two epochs. `kl`: of the probabilities, with the absolute value taken
    `inside` the sum over classes or `outside` of it. `ce`: of the target's log-probability, also with its
    sign (`absolute="none"`). `el2n`: the values of a signal themselves. Depth 2 is computed from the K - 1
    changes of `window` = K epochs: the root of their summed squared deviations from their mean, or the sum
    without `sqrt`. The average over windows starts at 0 and weighs the newest by `beta`, or is a plain mean.

    The state holds the last two snapshots and K - 1 changes. `half` stores snapshots in float16 (4 C in place
    of 8 C). Memory: 8 C + 4 K + 1 bytes a sample while recording C numbers, 4 when final.

    Args:
        T: the epochs recorded; None scales `published[0]` from `length` epochs to the training's.
        window: None is the published one, but less than T.
        published: (T, window) for a training of `length` epochs.
        by_classes: (number of classes, published, length) of several data sets. The data that is trained on
            decides: see `for_classes`.
    """

    T: Annotated[int | None, Range(3)] = None
    window: Annotated[int | None, Range(3)] = None
    beta: Annotated[float, Range(0, 1, open_low=True)] = 0.9
    depth1: Depth = "kl"
    absolute: Absolute = "inside"
    sqrt: bool = True
    average: WindowAverage = "ema"
    half: bool = False
    published: tuple[int, int] = (90, 10)
    length: Annotated[int, Range(1)] = 200
    by_classes: tuple[tuple[int, tuple[int, int], int], ...] = ()
    complete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        refuse_longer("DualDepth", self.T, self.window)
        if self.absolute == "none" and self.depth1 == "kl":
            raise ValueError(
                "DualDepth.absolute='none' needs depth1='ce': a KL divergence is never negative and has no "
                "sign. Use depth1='ce' for the signed change, or absolute='outside'."
            )

    @property
    def ranks(self) -> str:
        return "score"

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"K": self.window or self.published[1]}

    @property
    def enough(self) -> int | None:
        return self.T

    def for_classes(self, classes: int | None) -> "DualDepth":
        if not self.by_classes or None not in (self.T, self.window):
            return self
        for known, published, length in self.by_classes:
            if known == classes:
                return replace(self, published=published, length=length, by_classes=())
        numbers = ", ".join(str(known) for known, _, _ in self.by_classes)
        got = "data without known labels" if classes is None else f"{classes} classes"
        raise ValueError(
            f"DualDepth has published numbers for data of {numbers} classes, got {got}. Give T and "
            "window, or say whose numbers to take, as in tdds(data='cifar10'), or give Selector(labels=...)."
        )

    def within(self, epochs: int) -> "DualDepth":
        here = scaled(self.published[0], epochs, self.length)
        window = self.window or max(3, min(self.published[1], (self.T or here) - 1))
        last = self.T or max(here, window + 1)
        refuse_short("DualDepth.T", last, epochs)
        return replace(self, T=last, window=window)

    def columns(self, values: Values) -> dict[str, Column]:
        now = Column(torch.float16 if self.half else torch.float32, first=0, until="final")
        window = self.sizes["K"]
        epoch = Column(torch.int64, shape=(), first=0, join="same", per_sample=False, until="final")
        return {
            "now": now,
            "seen": Column(torch.bool, shape=(), until="final"),
            # A window of K epochs has K - 1 changes, but K values.
            "changes": Column(torch.float32, (window - self._lag,), first=0, join="same", until="final"),
            "score": Column(torch.float32, shape=(), join="same"),
            "epoch": epoch,
            **({"before": replace(now, join="same")} if self._lag else {}),
        }

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        again = state["seen"].index_select(0, ids)
        if bool(again.any()):
            raise ValueError(
                f"every sample must be seen once in an epoch, but ids {few(ids[again])} came again in epoch "
                f"{int(state['epoch'])}. Use a sampler without replacement."
            )
        (new,) = values.values()
        write(state["now"], ids, new)
        state["seen"].index_fill_(0, ids, True)
        return ids, {}

    def restart(self, state: State) -> None:
        state["seen"].zero_()

    def close(self, state: State) -> None:
        epoch = int(state["epoch"])
        if not bool(state["seen"].all()):
            raise ValueError(
                "every sample must be seen once in an epoch, but ids "
                f"{few((~state['seen']).nonzero().flatten())} were not seen in epoch {epoch}: a missing "
                "value would look like a huge change. Use drop_last=False and all samples."
            )
        changes = state["changes"]
        if epoch >= self._lag:
            self._change(state, changes[:, (epoch - self._lag) % changes.shape[1]])
        windows = epoch + 2 - self._lag - changes.shape[1]
        if windows >= 1:
            self._average(state["score"], self._spread(changes), windows)
        if self._lag:
            state["before"], state["now"] = state["now"], state["before"]
        state["seen"].zero_()
        state["epoch"] += 1

    @property
    def _lag(self) -> int:
        """How many epochs come before the first change."""
        return int(self.depth1 != "el2n")

    def _change(self, state: State, into: Float[Tensor, " n"]) -> None:
        """Depth 1 of the epoch that ends."""
        now = state["now"]
        rows = max(1, _AT_ONCE * len(now) // max(1, now.numel()))
        for first in range(0, len(now), rows):
            part = slice(first, first + rows)
            new = now[part].float()
            if self.depth1 == "el2n":
                change = new
            elif self.depth1 == "ce":
                change = new - state["before"][part]
            else:
                old = state["before"][part].float()
                terms = new.add(_EPS).log_().sub_(old.add(_EPS).log_()).mul_(new)
                change = (terms.abs_() if self.absolute == "inside" else terms).sum(1)
            into[part] = change if self.absolute == "none" else change.abs()

    def _spread(self, changes: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        """Depth 2 of the window that ends; the order of the changes in it does not matter."""
        squares = changes.var(1, correction=0).mul_(changes.shape[1])
        return squares.sqrt_() if self.sqrt else squares

    def _average(self, score: Float[Tensor, " n"], new: Float[Tensor, " n"], windows: int) -> None:
        rate = self.beta if self.average == "ema" else 1 / windows
        if windows == 1:
            score.zero_()
        score.lerp_(new, rate)
