"""What a tracker is, trackers in a row, and helpers for their columns and for windows of epochs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

__all__ = [
    "Ids",
    "Pipe",
    "State",
    "Tracker",
    "Values",
    "add_seen",
    "at",
    "column",
    "keep_only",
    "mean_so_far",
    "only",
    "open_epoch",
    "refuse_short",
    "ring",
    "write",
]

State = dict[str, Tensor]
Values = dict[str, Tensor]
Ids = Int[Tensor, " b"]


class Tracker(ABC):
    """Memory of one or more columns; subclass it as a frozen dataclass of parameters."""

    written: ClassVar[tuple[str, ...] | None] = None
    """The columns that `observe` writes, for processes to exchange; None: all of them."""
    whole_batches: ClassVar[bool] = False
    """Whether it may only be shown batches as they came, not the rows that were chosen from them."""
    complete: ClassVar[bool] = False
    """Whether every sample must be seen in every epoch."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it comes from and what that has cost, if it was made before the training."""
        return {}

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:  # noqa: B027
        """Raise if it was made for other data than these `n` samples."""

    @property
    def beside(self) -> tuple[str, ...]:
        """The entries of the state that are no columns of n rows: each process keeps its own."""
        return ()

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

    def within(self, epochs: int) -> "Tracker":
        """Itself with what depends on the length of the training filled in; refuses one too short."""
        return self

    @property
    def enough(self) -> int | None:
        """After how many epochs its columns no longer change; None: they do to the end."""
        return None

    def close(self, state: State) -> None:  # noqa: B027 - most trackers have nothing to do then
        """Called once when an epoch ends."""

    def chosen(self, state: State) -> None:  # noqa: B027
        """Called when the picker has chosen from the columns: drop what only it needed."""

    def restart(self, state: State) -> None:  # noqa: B027
        """Called when the open epoch begins again."""

    def finish(self, state: State) -> None:  # noqa: B027
        """Called once when a static score is final: derive columns, drop what only they needed."""

    def __or__(self, following: "Tracker") -> "Pipe":
        # A subclass of Pipe has ways of its own: it stays whole, as one stage.
        parts = [part.stages if type(part) is Pipe else (part,) for part in (self, following)]
        return Pipe(parts[0] + parts[1])


@dataclass(frozen=True)
class Pipe(Tracker):
    """Trackers in a row, each fed what the one before emits."""

    stages: tuple[Tracker, ...]

    @property
    def ranks(self) -> str | None:
        """The last stage's."""
        named = [stage.ranks for stage in self.stages if stage.ranks is not None]
        return named[-1] if named else None

    @property
    def beside(self) -> tuple[str, ...]:
        """Every stage's."""
        return tuple(name for stage in self.stages for name in stage.beside)

    @property
    def whole_batches(self) -> bool:  # type: ignore[override]
        """Whether any stage asks for it."""
        return any(stage.whole_batches for stage in self.stages)

    def start(self, n: int, values: Values) -> State:
        state: State = {}
        values = {name: value[:0] for name, value in values.items()}
        for before, stage in zip((None, *self.stages), self.stages, strict=False):
            if not values:
                raise ValueError(
                    f"Pipe.stages must have {type(before).__name__} last, because it passes nothing on, got "
                    f"{type(stage).__name__} after it. Change their order, or leave one out."
                )
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

    def within(self, epochs: int) -> "Pipe":
        return replace(self, stages=tuple(stage.within(epochs) for stage in self.stages))

    @property
    def enough(self) -> int | None:
        """The first stage's that has one: what it no longer emits, no other sees."""
        return next((stage.enough for stage in self.stages if stage.enough is not None), None)

    def close(self, state: State) -> None:
        for stage in self.stages:
            stage.close(state)

    def chosen(self, state: State) -> None:
        for stage in self.stages:
            stage.chosen(state)

    def restart(self, state: State) -> None:
        for stage in self.stages:
            stage.restart(state)

    def finish(self, state: State) -> None:
        for stage in self.stages:
            stage.finish(state)


def only(values: Values, owner: str) -> Tensor:
    """The one signal that a tracker can follow."""
    if len(values) != 1:
        raise ValueError(f"{owner} follows one signal, but is fed {sorted(values)}")
    (value,) = values.values()
    return value


def column(n: int, like: Tensor, fill: float = float("nan")) -> Shaped[Tensor, "n ..."]:
    """An empty column for values like these: float32, truth values, or whole numbers with -1 for never."""
    shape = (n, *like.shape[1:])
    if like.dtype == torch.bool:
        return torch.zeros(shape, dtype=torch.bool, device=like.device)
    if not like.is_floating_point():
        return torch.full(shape, -1, dtype=torch.int32, device=like.device)
    return torch.full(shape, fill, dtype=torch.float32, device=like.device)


def at(column: Shaped[Tensor, "n ..."], ids: Ids | None) -> Tensor:
    """The column at `ids`, or whole."""
    return column if ids is None else column.index_select(0, ids)


def write(column: Shaped[Tensor, "n ..."], ids: Ids, values: Shaped[Tensor, "b ..."]) -> None:
    """Put values into the column at `ids`."""
    column.index_copy_(0, ids, values if values.dtype == column.dtype else values.to(column.dtype))


def ring(n: int, like: Shaped[Tensor, " b"], window: int) -> Shaped[Tensor, "n k"]:
    """An empty column for the last `window` epochs of a signal: the state's `values`, see `open_epoch`."""
    return column(n, like.new_empty((0, window)))


def open_epoch(state: State) -> Shaped[Tensor, " n"]:
    """The part of the ring `values` that the open epoch writes: that of the oldest epoch.

    `state["epoch"]` counts the closed epochs.
    """
    return state["values"][:, int(state["epoch"]) % state["values"].shape[1]]


def add_seen(state: State, new: Float[Tensor, " n"], total: str = "total", times: str = "times") -> None:
    """Add every value that is not NaN to a sample's `total`, and 1 to its `times`."""
    seen = ~new.isnan()
    state[total] += torch.where(seen, new, 0.0)
    state[times] += seen


def mean_so_far(
    state: State, name: str, ids: Ids | None, total: str = "total", times: str = "times"
) -> Float[Tensor, " b"]:
    """The final column `name`; before `finish`, the mean of what `add_seen` added, or NaN without any."""
    if name in state:
        return at(state[name], ids)
    return at(state[total], ids) / at(state[times], ids)


def keep_only(state: State, columns: Values) -> None:
    """Replace the whole state by the final columns.

    Make them by the tracker's own class, `Mean.read(self, state)`: what a subclass changes in `read` is
    done whenever it is read, and must not be in the state besides.
    """
    state.clear()
    state.update(columns)


def refuse_short(where: str, needed: int, epochs: int) -> None:
    """Raise unless a training of `epochs` has as many as the parameter `where` needs."""
    if needed > epochs:
        said = "1 epoch" if epochs == 1 else f"{epochs} epochs"
        raise ValueError(f"{where} must fit into a training of {said}, got {needed}. Train longer.")
