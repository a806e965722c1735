"""Trackers: what is remembered of each sample from visit to visit.

A tracker writes only into the state it is handed, a dict of columns of length n, and emits `(ids,
values)` for the next one: `a | b` feeds what a emits to b. NaN in a column means never observed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from samplewise.checks import Range, checked
from samplewise.schedules import Schedule, number

__all__ = [
    "BestAccuracy",
    "Count",
    "DecoupledEma",
    "Ema",
    "EmaMoments",
    "Last",
    "Pipe",
    "Tracker",
    "UpperBound",
]

State = dict[str, Tensor]
Values = dict[str, Tensor]
Ids = Int[Tensor, " b"]
Rate = Annotated[float | Schedule, Range(0, 1)]


class Tracker(ABC):
    """Memory of one or more columns; subclass it as a frozen dataclass of parameters."""

    @property
    @abstractmethod
    def ranks(self) -> str | None:
        """The column a picker ranks by unless it names another; None: the first one it is fed."""

    @abstractmethod
    def start(self, n: int, values: Values) -> State:
        """Empty columns for n samples, on the device and of the types of the first `values`."""

    @abstractmethod
    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        """Write what was seen of `ids` and emit what the next tracker is to see (fewer is fine)."""

    def read(self, state: State, ids: Ids | None = None) -> Values:
        """The columns at `ids`, or whole; derived ones are computed here and cost no memory."""
        return {}

    def close(self, state: State) -> None:  # noqa: B027 - most trackers have nothing to do then
        """Called once when an epoch ends."""

    def __or__(self, following: "Tracker") -> "Pipe":
        left = self.stages if isinstance(self, Pipe) else (self,)
        right = following.stages if isinstance(following, Pipe) else (following,)
        return Pipe(left + right)


@dataclass(frozen=True)
class Pipe(Tracker):
    """Trackers in a row, each fed what the one before emits."""

    stages: tuple[Tracker, ...]

    @property
    def ranks(self) -> str | None:
        """The last stage's."""
        named = [stage.ranks for stage in self.stages if stage.ranks is not None]
        return named[-1] if named else None

    def start(self, n: int, values: Values) -> State:
        state: State = {}
        values = {name: value[:0] for name, value in values.items()}
        for stage in self.stages:
            columns = stage.start(n, values)
            if twice := sorted(state.keys() & columns.keys()):
                raise ValueError(f"two trackers of one pipe both keep a column {twice[0]!r}")
            state |= columns
            # Observing nobody shows the next stage the names and types of what it will be fed.
            nobody = torch.empty(0, dtype=torch.int64, device=next(iter(values.values())).device)
            _, values = stage.observe(state, nobody, values)
        return state

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        for stage in self.stages:
            ids, values = stage.observe(state, ids, values)
        return ids, values

    def read(self, state: State, ids: Ids | None = None) -> Values:
        read: Values = {}
        for stage in self.stages:
            read |= stage.read(state, ids)
        return read

    def close(self, state: State) -> None:
        for stage in self.stages:
            stage.close(state)


def _only(values: Values, owner: str) -> Tensor:
    if len(values) != 1:
        raise ValueError(f"{owner} follows one signal, but is fed {sorted(values)}")
    (value,) = values.values()
    return value


def _column(n: int, like: Tensor, fill: float = float("nan")) -> Tensor:
    dtype = like.dtype if like.dtype == torch.bool else torch.float32
    return torch.full((n,), fill if dtype.is_floating_point else False, dtype=dtype, device=like.device)


def _at(column: Shaped[Tensor, " n"], ids: Ids | None) -> Tensor:
    return column if ids is None else column.index_select(0, ids)


def _write(column: Shaped[Tensor, " n"], ids: Ids, values: Shaped[Tensor, " b"]) -> None:
    column.index_copy_(0, ids, values if values.dtype == column.dtype else values.to(column.dtype))


@dataclass(frozen=True)
class Last(Tracker):
    """The last value of every signal: 4 bytes a sample for a number, 1 for a truth value."""

    @property
    def ranks(self) -> str | None:
        return None

    def start(self, n: int, values: Values) -> State:
        return {name: _column(n, value) for name, value in values.items()}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        for name, value in values.items():
            _write(state[name], ids, value)
        return ids, values

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {name: _at(column, ids) for name, column in state.items() if column.ndim}


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
        return {"mean": _column(n, _only(values, "Ema"))}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        new = _only(values, "Ema")
        old = state["mean"].index_select(0, ids)
        old = old.where(~old.isnan(), new if self.start_at == "first" else torch.zeros_like(old))
        mean = old + number(self.rate) * (new - old)
        _write(state["mean"], ids, mean)
        return ids, {"mean": mean}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {"mean": _at(state["mean"], ids)}


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
        like = _only(values, "EmaMoments")
        return {"mean": _column(n, like), "variance": _column(n, like)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        new = _only(values, "EmaMoments")
        mean, variance = (state[name].index_select(0, ids) for name in ("mean", "variance"))
        seen = ~mean.isnan()
        deviation = torch.where(seen, new - mean, torch.zeros_like(mean))
        variance = torch.where(seen, variance, torch.zeros_like(mean))
        variance = variance + number(self.rate) * (deviation * deviation - variance)
        mean = torch.where(seen, mean + number(self.rate) * deviation, new)
        _write(state["mean"], ids, mean)
        _write(state["variance"], ids, variance)
        return ids, {"mean": mean, "variance": variance}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {name: _at(state[name], ids) for name in ("mean", "variance")}


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
        return {"upper_bound": _at(state["mean"], ids) + number(self.c) * _at(state["variance"], ids)}


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
        like = _only(values, "DecoupledEma")
        return {"score": _column(n, like, 1 / n), "weight": _column(n, like)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        new = _only(values, "DecoupledEma")
        old = state["score"].index_select(0, ids)
        weight = old.lerp(new, number(self.weight_rate))
        _write(state["weight"], ids, weight)
        _write(state["score"], ids, old.lerp(new, number(self.rate)))
        return ids, {"weight": weight}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {name: _at(state[name], ids) for name in ("weight", "score")}


@dataclass(frozen=True)
class Count(Tracker):
    """How many of a sample's values were not zero: visits of a loss, hits of `correct`. 4 bytes a sample."""

    @property
    def ranks(self) -> str:
        return "count"

    def start(self, n: int, values: Values) -> State:
        device = _only(values, "Count").device
        return {"count": torch.zeros(n, dtype=torch.int32, device=device)}

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        count = state["count"].index_select(0, ids) + (_only(values, "Count") != 0).int()
        _write(state["count"], ids, count)
        return ids, {"count": count}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        return {"count": _at(state["count"], ids)}


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
