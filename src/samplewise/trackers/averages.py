"""Trackers that follow a sample from visit to visit: last values, averages, counts."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.schedules import Schedule
from samplewise.trackers.base import Ids, State, Tracker, Values, at, put
from samplewise.trackers.columns import Column

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
    """The last value of every signal, vectors included.

    Memory: 4 bytes a sample for a number, 1 for a truth value.
    """

    @property
    def ranks(self) -> str | None:
        return None

    def columns(self, values: Values) -> dict[str, Column]:
        return {name: Column(of=name) for name in values}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        put(state, ids, values)
        return ids, values

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {name: at(column, ids) for name, column in state.items() if column.ndim}


@checked
@dataclass(frozen=True)
class Ema(Tracker):
    """Exponential moving average, column `mean`: mean <- rate * value + (1 - rate) * mean.

    `start_at="first"` begins at the first value, `"zero"` at 0. Memory: 4 bytes a sample.
    """

    rate: Rate
    start_at: Literal["first", "zero"] = "first"

    @property
    def ranks(self) -> str:
        return "mean"

    def columns(self, values: Values) -> dict[str, Column]:
        return {"mean": Column()}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        rate: Any = self.rate
        (new,) = values.values()
        old = state["mean"].index_select(0, ids)
        old = old.where(~old.isnan(), new if self.start_at == "first" else torch.zeros_like(old))
        found = {"mean": old + rate * (new - old)}
        put(state, ids, found)
        return ids, found


@checked
@dataclass(frozen=True)
class EmaMoments(Tracker):
    """Running mean as `Ema`, and the running mean of squared deviations from the mean before.

    variance <- (1 - rate) * variance + rate * (value - mean)^2, then the mean; the first value sets
    mean = value and variance = 0. Columns `mean` and `variance`. Memory: 8 bytes a sample.
    """

    rate: Rate

    @property
    def ranks(self) -> str:
        return "mean"

    def columns(self, values: Values) -> dict[str, Column]:
        return {"mean": Column(), "variance": Column()}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        rate: Any = self.rate
        (new,) = values.values()
        mean, variance = (state[name].index_select(0, ids) for name in ("mean", "variance"))
        seen = ~mean.isnan()
        deviation = torch.where(seen, new - mean, torch.zeros_like(mean))
        variance = torch.where(seen, variance, torch.zeros_like(mean))
        variance = variance + rate * (deviation * deviation - variance)
        variance = variance.clamp(max=torch.finfo(variance.dtype).max)  # squares overflow where losses do not
        found = {"mean": torch.where(seen, mean + rate * deviation, new), "variance": variance}
        put(state, ids, found)
        return ids, found


@checked
@dataclass(frozen=True)
class UpperBound(Tracker):
    """mean + c * variance of the `EmaMoments` before it, column `upper_bound`. Memory: 0 bytes a sample."""

    c: Annotated[float | Schedule, Range(0)]

    @property
    def ranks(self) -> str:
        return "upper_bound"

    def start(self, n: int, values: Values) -> State:
        if set(values) != {"mean", "variance"}:
            raise ValueError(
                f"UpperBound must follow EmaMoments, got {sorted(values)}. "
                "Use EmaMoments(rate) | UpperBound(c)."
            )
        return {}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        c: Any = self.c
        return ids, {"upper_bound": values["mean"] + c * values["variance"]}

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        c: Any = self.c
        return {"upper_bound": at(state["mean"], ids) + c * at(state["variance"], ids)}


@checked
@dataclass(frozen=True)
class DecoupledEma(Tracker):
    """A slow average `score` and a `weight` that mixes the old score with the newest value.

    weight = (1 - weight_rate) * score + weight_rate * value, with the score before this visit; then
    score <- (1 - rate) * score + rate * value. Scores start at 1/n. The weight is kept, so that a picker can
    choose again without a new value. Memory: 8 bytes a sample.
    """

    rate: Rate
    weight_rate: Rate

    @property
    def ranks(self) -> str:
        return "weight"

    def columns(self, values: Values) -> dict[str, Column]:
        return {"weight": Column(), "score": Column(first=lambda n: 1 / n)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        rate: Any = self.rate
        weight_rate: Any = self.weight_rate
        (new,) = values.values()
        old = state["score"].index_select(0, ids)
        weight = old.lerp(new, weight_rate)
        put(state, ids, {"weight": weight, "score": old.lerp(new, rate)})
        return ids, {"weight": weight}


@dataclass(frozen=True)
class Count(Tracker):
    """Number of a sample's values that were not 0: visits of a loss, hits of `correct`.

    Memory: 4 bytes a sample.
    """

    @property
    def ranks(self) -> str:
        return "count"

    def columns(self, values: Values) -> dict[str, Column]:
        return {"count": Column(torch.int32, shape=(), first=0)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        (new,) = values.values()
        found = {"count": state["count"].index_select(0, ids) + (new != 0).int()}
        put(state, ids, found)
        return ids, found


@dataclass(frozen=True)
class BestAccuracy(Tracker):
    """The best share of `correct` samples at the end of an epoch, one number in all.

    Memory: 0 bytes a sample.
    """

    @property
    def ranks(self) -> None:
        return None

    def columns(self, values: Values) -> dict[str, Column]:
        best = Column(torch.float64, shape=(), first=0, join="same", of="correct", per_sample=False)
        return {"best_accuracy": best}

    def start(self, n: int, values: Values) -> State:
        if "correct" not in values:
            raise ValueError(
                "BestAccuracy must follow a tracker of the signal `correct`, got "
                f"{sorted(values)}. Add signals.correct, and use Last() | BestAccuracy()."
            )
        return super().start(n, values)

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        return ids, values

    def close(self, state: State) -> None:
        best: Float[Tensor, ""] = state["best_accuracy"]
        best.copy_(torch.maximum(best, state["correct"].double().mean()))
