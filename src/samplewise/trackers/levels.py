"""Two trackers side by side: one for the choice of an epoch, one for the choice inside a batch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from samplewise.trackers.base import Ids, State, Tracker, Values
from samplewise.trackers.columns import Column

__all__ = ["BATCH", "EPOCH", "Levels"]

EPOCH, BATCH = "epoch/", "batch/"
"""What the names of a level's signals and columns begin with."""


@dataclass(frozen=True)
class Levels(Tracker):
    """The trackers of the two levels of a policy. Neither sees the signals or the columns of the other.

    The engine makes it of `Policy.tracker` and `Policy.batch_tracker`. A level has columns from its first
    observation on: the two may be observed from different sources.
    """

    epoch: Tracker
    batch: Tracker

    @property
    def ranks(self) -> str | None:
        """The column of the finer level."""
        return self.batch.ranks

    @property
    def whole_batches(self) -> bool:  # type: ignore[override]
        """Whether either asks for it."""
        return self.epoch.whole_batches or self.batch.whole_batches

    @property
    def follows_choices(self) -> bool:  # type: ignore[override]
        """Whether the tracker of batches does."""
        return self.batch.follows_choices

    def level(self, batch: bool) -> Tracker:
        return self.batch if batch else self.epoch

    def part(self, state: State, batch: bool) -> State:
        return _under(BATCH if batch else EPOCH, state)

    def columns(self, values: Values) -> dict[str, Column]:
        found: dict[str, Column] = {}
        for prefix, tracker in self._levels:
            own = _under(prefix, values)
            if values and not own:
                continue
            for name, column in tracker.columns(own).items():
                followed = column.of or (next(iter(own)) if len(own) == 1 else None)
                found[prefix + name] = replace(column, of=None if followed is None else prefix + followed)
        return found

    def begin(self, n: int, values: Values, state: State) -> None:
        for prefix, tracker in self._levels:
            if (own := _under(prefix, values)) and not _under(prefix, state):
                state |= _named(prefix, tracker.start(n, own))

    def observe(self, state: State, ids: Ids, values: Values) -> tuple[Ids, Values]:
        for prefix, tracker in self._levels:
            if own := _under(prefix, values):
                _change(state, prefix, partial(tracker.observe, ids=ids, values=own))
        return ids, {}

    def read(self, state: State, ids: Ids | None = None) -> Values:
        """The columns of both. A name that both have is that of the batch; that of the epoch has a prefix."""
        epoch, batch = (
            tracker.read(own, ids) if (own := _under(prefix, state)) else {}
            for prefix, tracker in self._levels
        )
        return {(EPOCH + name if name in batch else name): column for name, column in epoch.items()} | batch

    def close(self, state: State) -> None:
        for prefix, tracker in self._levels:
            _change(state, prefix, tracker.close)

    def chosen(self, state: State) -> None:
        """The plan has chosen from the columns of its level."""
        _change(state, EPOCH, self.epoch.chosen)

    def narrowed(self, state: State, ids: Ids) -> None:
        """The rows of a batch were chosen from the columns of its level."""
        _change(state, BATCH, partial(self.batch.narrowed, ids=ids))

    @property
    def _levels(self) -> tuple[tuple[str, Tracker], ...]:
        return (EPOCH, self.epoch), (BATCH, self.batch)


def _under(prefix: str, named: State) -> State:
    """The entries of a level, under the names that its tracker knows."""
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


def _named(prefix: str, own: State) -> State:
    return {prefix + name: value for name, value in own.items()}


def _change(state: State, prefix: str, change: Callable[[State], object]) -> None:
    """Let a tracker change its part of the state, if it has one yet."""
    if not (own := _under(prefix, state)):
        return
    names = list(own)
    change(own)
    state |= _named(prefix, own)
    for name in names:
        if name not in own:
            del state[prefix + name]
