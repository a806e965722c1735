"""`Tracker`, trackers in sequence, and helpers for their columns and for windows of epochs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from samplewise.checks import refuse_taken_fields
from samplewise.schedules.epochs import refuse_unresolved
from samplewise.trackers.columns import Column

__all__ = [
    "Ids",
    "Pipe",
    "State",
    "Tracker",
    "Values",
    "add_seen",
    "at",
    "counted",
    "mean_so_far",
    "only",
    "open_epoch",
    "put",
    "refuse_longer",
    "refuse_short",
    "ring",
    "scaled",
    "write",
]

State = dict[str, Tensor]
Values = dict[str, Tensor]
Ids = Int[Tensor, " b"]


class Tracker(ABC):
    """Memory of one or more columns. Subclass it as a frozen dataclass of parameters.

    Write `columns` and `observe`, and `close` if an epoch counts as a whole. What processes exchange, what is
    saved and what is dropped when a score is final follows from `columns`.
    """

    whole_batches: ClassVar[bool] = False
    """Whether it may see only whole batches, not the rows that were chosen from them."""
    complete: ClassVar[bool] = False
    """Whether every sample must be seen in every epoch."""
    follows_choices: ClassVar[bool] = False
    """Whether `narrowed` does something."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        refuse_taken_fields(cls, Tracker, "ranks")
        return super().__new__(cls)

    @property
    @abstractmethod
    def ranks(self) -> str | None:
        """The column that a picker ranks by unless it names another. None: that of the first signal."""

    def columns(self, values: Values) -> dict[str, Column]:
        """The columns of the state by name. `values` have no rows; without a known signal they are empty."""
        return {}

    def start(self, n: int, values: Values) -> State:
        """The state before the first observation, for n samples, on the device of the first `values`."""
        refuse_unresolved(self)  # here and not in `observe`, which runs in every step
        return {
            name: column.empty(n, self._signal(column, values))
            for name, column in self.columns(values).items()
            if column.since is None
        }

    def begin(self, n: int, values: Values, state: State) -> None:
        """Add what `start` gives to a state that has nothing of it yet."""
        if not state:
            state |= self.start(n, values)

    def level(self, batch: bool) -> "Tracker":
        """The tracker that the picker of batches reads, or that of epochs."""
        return self

    def part(self, state: State, batch: bool) -> State:
        """The part of the state that this tracker keeps, under its names."""
        return state

    def _signal(self, column: Column, values: Values) -> Tensor:
        """The signal that a column follows."""
        return only(values, type(self).__name__) if column.of is None else values[column.of]

    @abstractmethod
    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        """Write the values of `ids` to the state. Return what the next tracker gets; fewer rows are fine."""

    def derive(self, state: State, ids: Ids | None = None) -> Values:
        """Columns that are computed from others, for `ids` or all samples. They use no memory until final."""
        return {}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        """All columns for pickers and tables: the rows of `ids`, or all rows."""
        declared = self.columns({})
        kept = {name: at(state[name], ids) for name, c in declared.items() if c.read and name in state}
        final = any(c.since == "final" and name in state for name, c in declared.items())
        return kept if final else self.derive(state, ids) | kept

    def bytes_a_sample(self, values: Values, final: bool = False) -> int:
        """Bytes of its columns for each sample, while recording or after a static score is final."""
        first, declared = next(iter(values.values())), self.columns(values).values()
        left = [c for c in declared if (c.until != "final" if final else c.since is None)]
        return sum(column.bytes_a_sample(values.get(column.of or "", first)) for column in left)

    @cached_property
    def local(self) -> tuple[str, ...]:
        """The per-process state: the names of the entries that each process keeps for itself."""
        return tuple(name for name, column in self.columns({}).items() if column.join == "local")

    def exchanged(self, state: State) -> list[str]:
        """The columns whose rows processes exchange; one that is not declared is among them."""
        declared, plain = self.columns({}), Column()
        return [
            name for name, kept in state.items() if kept.ndim and declared.get(name, plain).join == "newest"
        ]

    @property
    def sizes(self) -> Mapping[str, int]:
        """Values of the letters in the memory that its docstring states, such as K for epochs of a window."""
        return {}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The origin and cost of what it holds, if that was made before the training."""
        return {}

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:  # noqa: B027
        """Raise if it was made for other data than these `n` samples."""

    def within(self, epochs: int) -> "Tracker":
        """The tracker for a training of this length. Raises if the training is too short for it."""
        return self

    def for_classes(self, classes: int | None) -> "Tracker":
        """The tracker for data of so many classes, if its numbers depend on that. None: not known."""
        return self

    @property
    def enough(self) -> int | None:
        """The number of epochs after which its columns no longer change. None: they change to the end."""
        return None

    def close(self, state: State) -> None:  # noqa: B027 - most trackers have nothing to do then
        """Called once when an epoch ends."""

    def chosen(self, state: State) -> None:
        """Called when the picker has chosen. Drops the columns that are kept `until="choice"`."""
        self._drop(state, "choice")

    def narrowed(self, state: State, ids: Ids) -> None:  # noqa: B027 - most trackers do not follow choices
        """Called when the batch picker has chosen the samples `ids` of a batch, if `follows_choices`."""

    def restart(self, state: State) -> None:  # noqa: B027
        """Called when the open epoch begins again."""

    def finish(self, state: State) -> None:
        """Called once when a static score is final. Drops `until="final"`, adds `since="final"`."""
        since = [name for name, column in self.columns({}).items() if column.since == "final"]
        made = self.derive(state) if since else {}
        self._drop(state, "final")
        state.update({name: made[name] for name in since})

    def _drop(self, state: State, when: str) -> None:
        for name, column in self.columns({}).items():
            if column.until == when:
                state.pop(name, None)

    def __or__(self, following: "Tracker") -> "Pipe":
        # A subclass of Pipe may behave differently, so it becomes one stage.
        parts = [part.stages if type(part) is Pipe else (part,) for part in (self, following)]
        return Pipe(parts[0] + parts[1])


@dataclass(frozen=True)
class Pipe(Tracker):
    """Trackers in sequence: the output of each one is the input of the next."""

    stages: tuple[Tracker, ...]

    @property
    def ranks(self) -> str | None:
        """The ranking column of the last stage that has one."""
        named = [stage.ranks for stage in self.stages if stage.ranks is not None]
        return named[-1] if named else None

    @property
    def whole_batches(self) -> bool:  # type: ignore[override]
        """Whether any stage asks for it."""
        return any(stage.whole_batches for stage in self.stages)

    @property
    def complete(self) -> bool:  # type: ignore[override]
        """Whether any stage asks for it."""
        return any(stage.complete for stage in self.stages)

    @property
    def follows_choices(self) -> bool:  # type: ignore[override]
        """Whether any stage does."""
        return any(stage.follows_choices for stage in self.stages)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {letter: size for stage in self.stages for letter, size in stage.sizes.items()}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The provenance of the first stage that has one."""
        return next((stage.provenance for stage in self.stages if stage.provenance), {})

    def check_fits(self, n: int, fingerprint: Callable[[], str | None]) -> None:
        for stage in self.stages:
            stage.check_fits(n, fingerprint)

    def columns(self, values: Values) -> dict[str, Column]:
        if not values:
            return {name: column for stage in self.stages for name, column in stage.columns({}).items()}
        found: dict[str, Column] = {}

        def begin(stage: Tracker, seen: Values) -> State:
            own = stage.columns(seen).items()
            known = {name: column.resolved(stage._signal(column, seen)) for name, column in own}
            found.update(known)
            return {name: column.empty(1, next(iter(seen.values()))) for name, column in known.items()}

        self._begun(values, begin)
        return found

    def start(self, n: int, values: Values) -> State:
        return self._begun(values, lambda stage, seen: stage.start(n, seen))

    def _begun(self, values: Values, begin: Callable[["Tracker", Values], State]) -> State:
        """The state of all stages. `begin` makes the state of one stage from its inputs without rows."""
        state: State = {}
        values = {name: value[:0] for name, value in values.items()}
        for before, stage in zip((None, *self.stages), self.stages, strict=False):
            if not values:
                raise ValueError(
                    f"Pipe.stages must have {type(before).__name__} last, because it passes nothing on, got "
                    f"{type(stage).__name__} after it. Change their order, or leave one out."
                )
            columns = begin(stage, values)
            if twice := sorted(state.keys() & columns.keys()):
                raise ValueError(
                    f"two trackers of one pipe both keep a column {twice[0]!r}. "
                    "Leave one of them out, or give its column another name."
                )
            state |= columns
            # An empty observe gives the next stage its input names and dtypes.
            no_ids = torch.empty(0, dtype=torch.int64, device=next(iter(values.values())).device)
            _, values = stage.observe(state, no_ids, values)
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

    def for_classes(self, classes: int | None) -> "Pipe":
        return replace(self, stages=tuple(stage.for_classes(classes) for stage in self.stages))

    def within(self, epochs: int) -> "Pipe":
        return replace(self, stages=tuple(stage.within(epochs) for stage in self.stages))

    @property
    def enough(self) -> int | None:
        """The number of the first stage that has one: after it, later stages see nothing new."""
        return next((stage.enough for stage in self.stages if stage.enough is not None), None)

    def close(self, state: State) -> None:
        for stage in self.stages:
            stage.close(state)

    def chosen(self, state: State) -> None:
        for stage in self.stages:
            stage.chosen(state)

    def narrowed(self, state: State, ids: Ids) -> None:
        for stage in self.stages:
            stage.narrowed(state, ids)

    def restart(self, state: State) -> None:
        for stage in self.stages:
            stage.restart(state)

    def finish(self, state: State) -> None:
        for stage in self.stages:
            stage.finish(state)


def only(values: Values, owner: str) -> Tensor:
    """The one signal that a tracker can follow."""
    if len(values) != 1:
        raise ValueError(
            f"{owner} must follow one signal, got {sorted(values)}. Give the Policy one signal for it."
        )
    (value,) = values.values()
    return value


def at(column: Shaped[Tensor, "n ..."], ids: Ids | None) -> Tensor:
    """The rows of a column at `ids`, or all rows."""
    return column if ids is None else column.index_select(0, ids)


def write(column: Shaped[Tensor, "n ..."], ids: Ids, values: Shaped[Tensor, "b ..."]) -> None:
    """Put values into the column at `ids`."""
    column.index_copy_(0, ids, values if values.dtype == column.dtype else values.to(column.dtype))


def put(state: State, ids: Ids, values: Values) -> None:
    """Write several columns of the state at `ids`."""
    for name, new in values.items():
        kept = state[name]
        kept.index_copy_(0, ids, new if new.dtype == kept.dtype else new.to(kept.dtype))


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
    state: State, ids: Ids | None, total: str = "total", times: str = "times"
) -> Float[Tensor, " b"]:
    """The mean of what `add_seen` added; NaN without any."""
    return at(state[total], ids) / at(state[times], ids)


def ring(window: int) -> dict[str, Column]:
    """The columns `values`, a signal's last `window` epochs, and `epoch`, the number of closed epochs."""
    epoch = Column(torch.int64, shape=(), first=0, join="same", per_sample=False, until="final")
    return {"values": Column(shape=(window,), until="final"), "epoch": epoch}


def counted(total: str = "total", times: str = "times") -> dict[str, Column]:
    """The two columns of a mean: see `add_seen` and `mean_so_far`."""
    return {
        total: Column(shape=(), first=0.0, join="same", until="final"),
        times: Column(torch.int32, shape=(), first=0, join="same", until="final"),
    }


def refuse_short(where: str, needed: int, epochs: int) -> None:
    """Raise unless a training of `epochs` has as many as the parameter `where` needs."""
    if needed > epochs:
        said = "1 epoch" if epochs == 1 else f"{epochs} epochs"
        raise ValueError(
            f"{where} must fit into a training of {said}, got {needed}. Train longer, or give less."
        )


def refuse_longer(owner: str, T: int | None, window: int | None) -> None:  # noqa: N803 - the papers' letter
    """Raise if a window is longer than the T epochs that are recorded; None and odd types pass."""
    if isinstance(T, int) and isinstance(window, int) and window > T:
        raise ValueError(
            f"{owner}.T must be at least the window of {window}, got {T}. "
            "Give a larger T or a smaller window."
        )


def scaled(published: int, epochs: int, length: int) -> int:
    """A number of epochs published for a training of `length`, in one of `epochs`; halves are rounded up."""
    return int(published * epochs / length + 0.5)
