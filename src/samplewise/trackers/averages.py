"""Trackers that follow a sample from visit to visit: last values, averages, counts."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.schedules import Schedule, number
from samplewise.trackers.base import Ids, State, Tracker, Values, at, column, only, write

__all__ = [
    "BestAccuracy",
    "Count",
    "DecoupledEma",
    "Ema",
    "EmaMoments",
    "Last",
    "UpperBound",
]

Rate = Annotated[float | Schedule, Range(0, 1)]


@dataclass(frozen=True)
class Last(Tracker):
    """The last value of every signal, vectors included: 4 bytes a number, 1 a truth value."""

    @property
    def ranks(self) -> str | None:
        return None

    def start(self, n: int, values: Values) -> State:
        return {name: column(n, value) for name, value in values.items()}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        for name, value in values.items():
            write(state[name], ids, value)
        return ids, values

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {name: at(column, ids) for name, column in state.items() if column.ndim}


@checked
@dataclass(frozen=True)
class Ema(Tracker):
    """Exponential moving average, column `mean`: mean <- rate * value + (1 - rate) * mean.

    `start="first"` begins at the first value, `"zero"` at 0. 4 bytes a sample.
    """

    rate: Rate
    start_at: Literal["first", "zero"] = "first"

    @property
    def ranks(self) -> str:
        return "mean"

    def start(self, n: int, values: Values) -> State:
        return {"mean": column(n, only(values, "Ema"))}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        new = only(values, "Ema")
        old = state["mean"].index_select(0, ids)
        old = old.where(~old.isnan(), new if self.start_at == "first" else torch.zeros_like(old))
        mean = old + number(self.rate) * (new - old)
        write(state["mean"], ids, mean)
        return ids, {"mean": mean}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {"mean": at(state["mean"], ids)}


@checked
@dataclass(frozen=True)
class EmaMoments(Tracker):
    """Running mean as `Ema`, and the running mean of squared deviations from the mean before.

    variance <- (1 - rate) * variance + rate * (value - mean)^2, then the mean; the first value sets
    mean = value and variance = 0. Columns `mean`, `variance`: 8 bytes a sample.
    """

    rate: Rate

    @property
    def ranks(self) -> str:
        return "mean"

    def start(self, n: int, values: Values) -> State:
        like = only(values, "EmaMoments")
        return {"mean": column(n, like), "variance": column(n, like)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        new = only(values, "EmaMoments")
        mean, variance = (state[name].index_select(0, ids) for name in ("mean", "variance"))
        seen = ~mean.isnan()
        deviation = torch.where(seen, new - mean, torch.zeros_like(mean))
        variance = torch.where(seen, variance, torch.zeros_like(mean))
        variance = variance + number(self.rate) * (deviation * deviation - variance)
        variance = variance.clamp(max=torch.finfo(variance.dtype).max)  # squares overflow where losses do not
        mean = torch.where(seen, mean + number(self.rate) * deviation, new)
        write(state["mean"], ids, mean)
        write(state["variance"], ids, variance)
        return ids, {"mean": mean, "variance": variance}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {name: at(state[name], ids) for name in ("mean", "variance")}


@checked
@dataclass(frozen=True)
class UpperBound(Tracker):
    """mean + c * variance of the `EmaMoments` before it, column `upper_bound`; no memory of its own."""

    c: Annotated[float | Schedule, Range(0)]

    @property
    def ranks(self) -> str:
        return "upper_bound"

    def start(self, n: int, values: Values) -> State:
        if set(values) != {"mean", "variance"}:
            raise ValueError("UpperBound must follow EmaMoments: EmaMoments(rate) | UpperBound(c)")
        return {}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        return ids, {"upper_bound": values["mean"] + number(self.c) * values["variance"]}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {"upper_bound": at(state["mean"], ids) + number(self.c) * at(state["variance"], ids)}


@checked
@dataclass(frozen=True)
class DecoupledEma(Tracker):
    """A slow average `score` and a `weight` that mixes the old score with the newest value.

    weight = (1 - weight_rate) * score + weight_rate * value with the score BEFORE this visit, then
    score <- (1 - rate) * score + rate * value. Scores start at 1/n. 8 bytes a sample: the weight is
    kept so that it can choose again without a new value.
    """

    rate: Rate
    weight_rate: Rate

    @property
    def ranks(self) -> str:
        return "weight"

    def start(self, n: int, values: Values) -> State:
        like = only(values, "DecoupledEma")
        return {"score": column(n, like, 1 / n), "weight": column(n, like)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        new = only(values, "DecoupledEma")
        old = state["score"].index_select(0, ids)
        weight = old.lerp(new, number(self.weight_rate))
        write(state["weight"], ids, weight)
        write(state["score"], ids, old.lerp(new, number(self.rate)))
        return ids, {"weight": weight}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {name: at(state[name], ids) for name in ("weight", "score")}


@dataclass(frozen=True)
class Count(Tracker):
    """How many of a sample's values were not zero: visits of a loss, hits of `correct`. 4 bytes a sample."""

    @property
    def ranks(self) -> str:
        return "count"

    def start(self, n: int, values: Values) -> State:
        device = only(values, "Count").device
        return {"count": torch.zeros(n, dtype=torch.int32, device=device)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        count = state["count"].index_select(0, ids) + (only(values, "Count") != 0).int()
        write(state["count"], ids, count)
        return ids, {"count": count}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {"count": at(state["count"], ids)}


@dataclass(frozen=True)
class BestAccuracy(Tracker):
    """The best share of `correct` samples at the end of any epoch, in one number for the data set."""

    @property
    def ranks(self) -> None:
        return None

    def start(self, n: int, values: Values) -> State:
        if "correct" not in values:
            raise ValueError("BestAccuracy must follow a tracker of the signal `correct`")
        return {"best_accuracy": torch.zeros((), dtype=torch.float64, device=values["correct"].device)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        return ids, values

    def close(self, state: State) -> None:
        best: Float[Tensor, ""] = state["best_accuracy"]
        best.copy_(torch.maximum(best, state["correct"].double().mean()))
