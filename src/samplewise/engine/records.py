"""The memory of static methods: training is copied into a buffer, measured in chunks, and made final."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jaxtyping import Int
from torch import Tensor

from samplewise.coresets.choose import ranked_column, refuse_early
from samplewise.data.ids import first_of_each
from samplewise.data.outputs import Outputs, refuse_targets
from samplewise.engine.buffer import Buffer
from samplewise.engine.memory import Memory
from samplewise.engine.record import Record
from samplewise.pickers import Pool
from samplewise.policy import Policy
from samplewise.rng import generator
from samplewise.signals import measure, needs
from samplewise.trackers import State

__all__ = ["Records"]

Ids = Int[Tensor, " b"]


class Records(Memory):
    """What one static method, or those of a `Recorder`, observed: columns named `method/column`.

    A step costs copies only: training is copied into a buffer and measured some thousand rows at a time.
    """

    def __init__(
        self, policy: Policy, n: int, epochs: int, seed: int, labels: Int[Tensor, " n"] | None
    ) -> None:
        super().__init__(policy, n, epochs, labels)
        self.seed = seed
        named = policy.records
        classes = None if labels is None or not len(labels) else int(labels.max()) + 1
        self.records = {name: Record.of(own, epochs, classes) for name, own in named.items()}
        for name, own in named.items():
            refuse_early(own, name, n, labels)
        self._buffer: Buffer | None = None

    # --------------------------------------------------------------------------------- columns

    def of(self, name: str) -> State:
        """The columns of one method under its own names for them."""
        start = f"{name}/"
        return {key.removeprefix(start): c for key, c in self.columns.items() if key.startswith(start)}

    @contextmanager
    def _states(self) -> Iterator[dict[str, State]]:
        """The columns of every method, to be written by their trackers, which may replace them."""
        states: dict[str, State] = {name: {} for name in self.records}
        for key, column in self.columns.items():
            name, _, own = key.partition("/")
            states[name][own] = column
        try:
            yield states
        finally:
            self.columns = {f"{name}/{key}": c for name, state in states.items() for key, c in state.items()}

    def shown(self, name: str) -> dict[str, Tensor]:
        """What a method's columns say, vectors too, on the CPU; empty before its first observation."""
        return _shown(self.records[name], self.of(name))

    def read(self) -> dict[str, Tensor]:
        """Each method's score under the method's name, its other columns as `name_column`; no vectors."""
        self.flush()
        self.finish()
        public: dict[str, Tensor] = {}
        for name, record in self.records.items():
            ranks = ranked_column(record.policy)
            for key, column in self.shown(name).items():
                if column.ndim == 1 and key != "target":  # the table has targets as its labels
                    public[name if key == ranks else f"{name}_{key}"] = column
        return public

    # --------------------------------------------------------------------------------- observe

    def _recording(self, source: str) -> dict[str, Record]:
        """The methods that an observation from `source` is for, now."""
        coming = self.epoch + self.opened
        return {
            name: record
            for name, record in self.records.items()
            if not record.done
            and record.policy.source == source
            and (self.epoch < record.final if source == "training" else record.final == coming)
        }

    def uses(self, source: str) -> bool:
        return bool(self._recording(source))

    def remember(self, ids: Ids, outputs: Outputs, source: str, good: Tensor | None) -> None:
        if source == "pass":
            self._measure(ids, outputs, self._recording("pass"), good, each_once=False)
            return
        if self._buffer is None or not self._buffer.room(len(ids)):
            self.flush()
            if self._buffer is None or not self._buffer.room(len(ids)):
                if self._reads_targets and ids.is_cpu:
                    refuse_targets(ids, outputs, self.epoch)  # now, not only when they are measured
                self._buffer = Buffer(self._fields(), ids, outputs)
        self._buffer.add(ids, outputs, good)

    def _fields(self) -> tuple[str, ...]:
        """The fields of a batch that are read by the methods that record training."""
        records = self._recording("training").values()
        fields = dict.fromkeys(field for record in records for field in record.policy.needs)
        signals = {signal for record in records for signal in record.policy.signals}
        left_out = {"head"} if any("loss" in needs(signal) for signal in signals) else {"head", "loss"}
        return tuple(field for field in fields if field not in left_out)

    def flush(self) -> None:
        """Measure what was only copied so far."""
        if self._buffer is None or not len(self._buffer):
            return
        records = self._recording("training")
        for ids, outputs in self._buffer.chunks():
            self._measure(ids, outputs, records)

    def _measure(
        self,
        ids: Ids,
        outputs: Outputs,
        records: Mapping[str, Record],
        good: Tensor | None = None,
        each_once: bool = True,
    ) -> None:
        """Signals once for all methods, then each method's tracker. `each_once`: no id comes twice."""
        signals = tuple(dict.fromkeys(s for record in records.values() for s in record.policy.signals))
        if self._reads_targets:
            refuse_targets(ids, outputs, self.epoch)
        values = measure(signals, outputs, " and ".join(records))
        if outputs.loss.device != self.device:
            self.move(outputs.loss.device)
        if good is not None:
            ids, values = ids[good], {name: value[good] for name, value in values.items()}
        elif not each_once and len(first := first_of_each(ids)) < len(ids):
            ids, values = ids[first], {name: value[first] for name, value in values.items()}
        self.bad.refuse_values(ids, values, self.epoch)
        with self._states() as states:
            for name, record in records.items():
                if record.tracker is None:
                    continue
                own = {signal.__name__: values[signal.__name__] for signal in record.policy.signals}
                if not states[name]:
                    states[name] = record.tracker.start(self.n, own)
                with self._naming_method(name):
                    record.tracker.observe(states[name], ids, own)

    @contextmanager
    def _naming_method(self, name: str) -> Iterator[None]:
        """Say which method an error is of."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{name} in epoch {self.epoch}: {error}") from error

    # ---------------------------------------------------------------------------------- epochs

    def restart(self) -> None:
        self.flush()
        with self._states() as states:
            for name, record in self._recording("training").items():
                if record.tracker is not None and states[name]:
                    record.tracker.restart(states[name])

    def close(self) -> None:
        with self._states() as states:
            for name, record in self._recording("training").items():
                if record.tracker is not None and states[name]:
                    with self._naming_method(name):
                        record.tracker.close(states[name])

    def finish(self) -> None:
        if self.opened:
            return
        for name, record in self.records.items():
            if record.done or record.final > self.epoch:
                continue
            if record.policy.source == "pass" and (self.passed is None or not bool(self.passed.all())):
                continue
            begun = time.perf_counter()
            with self._states() as states:
                self._finish(name, record, states[name])
            if record.scored:
                record.seconds = time.perf_counter() - begun

    def _finish(self, name: str, record: Record, state: State) -> None:
        record.done, record.scored = True, bool(state)
        if record.tracker is None or not state:
            return
        if self.labels is None and "target" in state and bool((state["target"] >= 0).all()):
            self.labels = state["target"].cpu().long()
        record.tracker.finish(state)
        if record.policy.picker is not None:
            ranks, rng = ranked_column(record.policy), generator(self.seed, "subset")
            pool = Pool(self.n, rng, _shown(record, state), ranks, labels=self.labels)
            state |= record.policy.picker.columns(pool)

    # ------------------------------------------------------------------------ processes and state

    def exchanged(self) -> list[str]:
        names = []
        for name, record in self.records.items():
            if record.tracker is not None and not record.done:
                names += [f"{name}/{key}" for key in record.tracker.exchanged(self.of(name))]
        return names

    def merge(self) -> None:
        self.flush()
        super().merge()
        self.finish()

    def state_dict(self, copied: bool = True) -> dict[str, Any]:
        self.bad.raise_flagged(self.epoch)
        self.flush()
        self.finish()
        done = sorted(name for name, record in self.records.items() if record.done)
        labels = None if self.labels is None else self.labels.clone()
        return super().state_dict(copied) | {"finished": done, "labels": labels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._buffer = None
        super().load_state_dict(state)
        self.labels = None if state["labels"] is None else state["labels"].clone()
        for name, record in self.records.items():
            record.done = name in state["finished"]
            record.scored = record.done and bool(self.of(name))


def _shown(record: Record, state: State) -> dict[str, Tensor]:
    """The columns of a method: those that its tracker reads, and those that its picker made."""
    if record.tracker is None or not state:
        return {}
    picker = record.policy.picker
    made = {key: state[key] for key in (() if picker is None else picker.makes) if key in state}
    return {key: column.cpu() for key, column in (record.tracker.read(state) | made).items()}
