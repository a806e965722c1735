"""The static level: record every sample, make a score final, keep a coreset from then on."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.coresets.choose import choose, ranked_column, refuse_early, unchanged
from samplewise.coresets.recorder import Recorder
from samplewise.coresets.table import Subset
from samplewise.cost.ledger import BACKWARD, FORWARD
from samplewise.data.ids import few, refuse_targets
from samplewise.data.outputs import Outputs
from samplewise.engine.buffer import Buffer, first_of_each
from samplewise.engine.engine import Engine
from samplewise.pickers import Pool
from samplewise.policy import Policy
from samplewise.rng import generator
from samplewise.signals import measure, needs
from samplewise.trackers import State, Tracker

__all__ = ["Record", "Static"]

Ids = Int[Tensor, " b"]


@dataclass(frozen=True)
class Record:
    """One method being recorded: its policy, its tracker for this training, when its score is final."""

    policy: Policy
    tracker: Tracker | None
    final: int

    @classmethod
    def of(cls, policy: Policy, epochs: int) -> "Record":
        """A policy in a training of `epochs`; one that keeps all has nothing to record."""
        if _keeps_all(policy):
            return cls(policy, None, 0)
        tracker = None if policy.tracker is None else policy.tracker.within(epochs)
        final = epochs if policy.final == "end" else int(policy.final or 0)
        if tracker is not None and tracker.enough is not None and policy.source == "training":
            final = min(final, tracker.enough)
        return cls(policy, tracker, final)


class Static(Engine):
    """The engine of one static policy, or of a `Recorder` of several.

    Until a score is final every sample is planned. Then a policy of its own plans its coreset; a
    recorder goes on with every sample. Training observations are copied into a buffer and measured
    some thousand rows at a time, so a step costs copies only.
    """

    def __init__(self, policy: Policy, n: int, epochs: int, seed: int, labels: Tensor | None = None) -> None:
        alone = not isinstance(policy, Recorder)
        named = policy.records if isinstance(policy, Recorder) else {policy.name: policy}
        policy.check(epochs)
        self.records = {name: Record.of(p, epochs) for name, p in named.items()}
        for name, own in named.items():
            refuse_early(own, name, n, labels)
        self._states: dict[str, State] = {name: {} for name in named}
        self._finished: set[str] = set()
        self.finish_seconds: dict[str, float] = {}
        self._buffer: Buffer | None = None
        self._recorded_in, self._records_training = -1, False
        super().__init__(policy, n, epochs, seed, labels)
        self._coreset = next(iter(named)) if alone else None
        self._finished = {name for name, record in self.records.items() if _keeps_all(record.policy)}

    # ---------------------------------------------------------------------------------- memory

    @property
    def memory(self) -> dict[str, Tensor]:
        """Every record's columns as `name/column`."""
        return {f"{name}/{key}": c for name, state in self._states.items() for key, c in state.items()}

    @memory.setter
    def memory(self, columns: dict[str, Tensor]) -> None:
        self._states = {name: {} for name in self.records}
        for key, column in columns.items():
            name, _, own = key.partition("/")
            self._states[name][own] = column

    @property
    def final(self) -> dict[str, int]:
        """The epoch before which each score is final."""
        return {name: record.final for name, record in self.records.items()}

    def _recording(self, source: Literal["training", "pass"]) -> dict[str, Record]:
        """The methods that an observation from `source` is for, now."""
        coming = self.epoch + self.opened
        return {
            name: record
            for name, record in self.records.items()
            if name not in self._finished
            and record.policy.source == source
            and (self.epoch < record.final if source == "training" else record.final == coming)
        }

    def uses(self, source: str) -> bool:
        if source == "pass":
            return bool(self._recording("pass"))
        if self._recorded_in != self.epoch:  # asked in every step
            self._recorded_in, self._records_training = self.epoch, bool(self._recording("training"))
        return self._records_training

    def remember(self, ids: Ids, outputs: Outputs, source: str, good: Tensor | None) -> None:
        if source == "pass":
            self._measured(ids, outputs, self._recording("pass"), good)
            return
        if self._buffer is None or not self._buffer.room(len(ids)):
            self.flush()
            if self._buffer is None or not self._buffer.room(len(ids)):
                if self._classed and ids.is_cpu:
                    refuse_targets(ids, outputs, self.epoch)  # not only when it is measured
                self._buffer = Buffer(self._fields(), ids, outputs)
        self._buffer.add(ids, outputs, good)

    def _fields(self) -> tuple[str, ...]:
        """What the methods that record training read of a batch."""
        needed = [field for record in self._recording("training").values() for field in record.policy.needs]
        signals = {s for record in self._recording("training").values() for s in record.policy.signals}
        reads_loss = any("loss" in needs(signal) for signal in signals)
        fields = [field for field in dict.fromkeys(needed) if field != "head"]
        return tuple(field for field in fields if field != "loss" or reads_loss)

    def flush(self) -> None:
        """Measure what was only copied so far."""
        if self._buffer is None or not len(self._buffer):
            return
        records = self._recording("training")
        for ids, outputs in self._buffer.chunks():
            self._measured(ids, outputs, records, None)

    def _measured(
        self, ids: Ids, outputs: Outputs, records: Mapping[str, Record], good: Tensor | None
    ) -> None:
        """Signals once for all methods, then each method's tracker."""
        signals = tuple(dict.fromkeys(s for record in records.values() for s in record.policy.signals))
        if self._classed:
            refuse_targets(ids, outputs, self.epoch)
        values = measure(signals, outputs, " and ".join(records))
        self._move_to(outputs.loss.device)
        if good is not None:
            ids, values = ids[good], {name: value[good] for name, value in values.items()}
        elif len(torch.unique(ids)) < len(ids):
            first = first_of_each(ids)
            ids, values = ids[first], {name: value[first] for name, value in values.items()}
        self._refuse_values(ids, values)
        for name, record in records.items():
            if record.tracker is None:
                continue
            own = {signal.__name__: values[signal.__name__] for signal in record.policy.signals}
            if not self._states[name]:
                self._states[name] = record.tracker.start(self.n, own)
            try:
                record.tracker.observe(self._states[name], ids, own)
            except ValueError as error:
                raise ValueError(f"{name} in epoch {self.epoch}: {error}") from error

    def _move_to(self, device: torch.device) -> None:
        if device != self._device:
            self._move(device)

    def exchanged(self) -> list[str]:
        names = []
        for name, record in self.records.items():
            if record.tracker is not None and name not in self._finished:
                names += [f"{name}/{key}" for key in record.tracker.exchanged(self._states[name])]
        return names

    def merge(self) -> None:
        self.flush()
        super().merge()
        self.finish()

    # -------------------------------------------------------------------------------- planning

    def pass_ids(self, epoch: int) -> Ids:
        wanted = any(
            record.policy.source == "pass" and record.final == epoch and name not in self._finished
            for name, record in self.records.items()
        )
        return torch.arange(self.n if wanted else 0)

    def pass_due(self, epoch: int) -> bool:
        return epoch <= self.epochs and len(self._missing(epoch)) > 0

    def unfinished(self) -> list[str]:
        self.finish()
        return [name for name in self.records if name not in self._finished]

    @property
    def finished(self) -> set[str]:
        """The methods whose score is final and made of observations."""
        return {name for name in self._finished if self._states[name]}

    def cost_of(self, name: str) -> float:
        """Forward units that recording one method alone takes: training until final, and its pass."""
        record = self.records[name]
        passed = 0
        if record.policy.source == "pass":
            passed = FORWARD + BACKWARD * ("gradient_norm" in record.policy.reads)
        return float(self.n * (record.final * (FORWARD + BACKWARD) + passed))

    def refuse_drop_last(self, drop_last: bool) -> None:
        for name, record in self.records.items():
            if drop_last and record.tracker is not None and record.tracker.complete:
                raise ValueError(f"{name} must see every sample in every epoch: drop_last=True is refused.")

    def pass_reads(self, epoch: int) -> set[str]:
        return {
            field
            for name, record in self.records.items()
            if record.policy.source == "pass" and record.final == epoch and name not in self._finished
            for field in record.policy.reads
        }

    def picks_rows(self) -> bool:
        return any("gradient_norm" in self.pass_reads(epoch) for epoch in range(self.epoch, self.epochs + 1))

    def covers(self, epoch: int) -> bool:
        return any(r.policy.source == "training" and epoch < r.final for r in self.records.values())

    def preview(self, epoch: int) -> tuple[int, bool]:
        if self.opened and epoch == self.epoch:
            return len(self.last_plan), True
        if self._coreset is None or epoch < self.records[self._coreset].final:
            return self.n, True
        picker = self.policy.picker
        return (self.n, True) if picker is None else picker.size(self.n)

    def _select(self, epoch: int) -> None:
        self.finish()
        if self._coreset is not None and epoch >= self.records[self._coreset].final:
            if self._selected_in < 0:
                self._plan = self.subset(None)
                self._selected_in = epoch
                self._count(self._plan.ids)
        elif self._plan is None:
            self._plan = Subset(torch.arange(self.n))

    def restart(self) -> None:
        super().restart()
        self.flush()
        for name, record in self._recording("training").items():
            if record.tracker is not None and self._states[name]:
                record.tracker.restart(self._states[name])

    def close(self) -> None:
        if self.opened:
            if not self._together:
                self.raise_if_failed()
            self.merge()
            for name, record in self._recording("training").items():
                if record.tracker is not None and self._states[name]:
                    try:
                        record.tracker.close(self._states[name])
                    except ValueError as error:
                        raise ValueError(f"{name} in epoch {self.epoch}: {error}") from error
            self.epoch, self.opened, self.step = self.epoch + 1, False, 0
            self.finish()

    def finish(self) -> None:
        """Make final what has seen all it will see; inside an epoch nothing does."""
        if self.opened:
            return
        for name, record in self.records.items():
            if name in self._finished or record.final > self.epoch:
                continue
            if record.policy.source == "pass" and (self._passed is None or not bool(self._passed.all())):
                continue
            self._finished.add(name)
            state, begun = self._states[name], time.perf_counter()
            if record.tracker is None or not state:
                continue
            if self.labels is None and "target" in state and bool((state["target"] >= 0).all()):
                self.labels = state["target"].cpu().long()
            record.tracker.finish(state)
            if record.policy.picker is not None:
                state |= record.policy.picker.columns(self._pool_of(name))
            self.finish_seconds[name] = time.perf_counter() - begun

    def _pool_of(self, name: str) -> Pool:
        """All columns of a method, vectors too, on the CPU."""
        rng = generator(self.seed, "subset")
        return Pool(
            self.n, rng, self._read(name), ranked_column(self.records[name].policy), labels=self.labels
        )

    # -------------------------------------------------------------------------------- choosing

    def ready(self, name: str) -> None:
        """Raise unless the score of a method is final."""
        record = self.records[name]
        self.finish()
        if name in self._finished:
            return
        if self.epoch < record.final:
            raise ValueError(
                f"the score of {name} is final after {record.final} epochs; {self.epoch} are done: "
                f"epochs {self.epoch} to {record.final - 1} are missing."
            )
        missing = self._missing(record.final)
        raise ValueError(
            f"{name} needs a pass after epoch {record.final - 1}: {len(missing)} samples, first ids "
            f"{few(missing)}, were not observed with source='pass'. See pass_ids({record.final})."
        )

    def subset(self, name: str | None, provenance: Mapping[str, Any] | None = None, **wanted: Any) -> Subset:
        """The coreset of one method, once its score is final."""
        name = self.policy.find(name) if isinstance(self.policy, Recorder) else self._own(name)
        self.ready(name)
        policy = self.records[name].policy
        if policy.fixed_subset is not None:
            return unchanged(policy.fixed_subset, **wanted)
        if (
            policy.signals
            and not self._states[name]
            and (not _keeps_all(policy) or wanted.get("keep") not in (None, 1))
        ):
            why = "nothing was observed: no selector.loss(batch) and no observe(ids, ...)"
            if _keeps_all(policy):
                why = "it keeps all and so was not scored: build it with the keep you want"
            raise ValueError(f"{name} has no scores: {why}.")
        return choose(
            policy, name, self._read(name), self.n, self.labels, self.seed, provenance=provenance, **wanted
        )

    def _own(self, name: str | None) -> str:
        (own,) = self.records
        if name not in (None, own):
            raise ValueError(f"this selector runs {own}, not {name!r}.")
        return own

    def weights(self, ids: Ids, over: int = 1) -> Float[Tensor, " b"] | None:
        found = super().weights(ids, over)
        if found is None or self.last_plan.weighting == "per_sample":
            return found
        return found.mean().expand(len(ids))

    # --------------------------------------------------------------------------------- reading

    def _read(self, name: str) -> dict[str, Tensor]:
        tracker, state = self.records[name].tracker, self._states[name]
        if tracker is None or not state:
            return {}
        picker = self.records[name].policy.picker
        made = {key: state[key] for key in (picker.makes if picker is not None else ()) if key in state}
        return {key: column.cpu() for key, column in (tracker.read(state) | made).items()}

    def columns(self) -> dict[str, Tensor]:
        """Each method's score under its own name, what else it keeps as `name_column`; no vectors."""
        self.flush()
        self.finish()
        public: dict[str, Tensor] = {}
        for name, record in self.records.items():
            ranks = ranked_column(record.policy)
            for key, column in self._read(name).items():
                if column.ndim == 1 and key != "target":  # which the table has as its labels
                    public[name if key == ranks else f"{name}_{key}"] = column
        return public

    def score(self, column: str | None = None) -> Tensor:
        if column is None and self._coreset is None:
            raise ValueError(f"say which column: {', '.join(self.columns()) or 'none yet'}.")
        if column is None and self.policy.signals:
            column = self._coreset
            if column not in self.columns():
                return torch.full((self.n,), float("nan"))
        return super().score(column)

    # ----------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        self.raise_if_failed()
        self.flush()
        self.finish()
        labels = None if self.labels is None else self.labels.clone()
        return super().state_dict() | {"finished": sorted(self._finished), "labels": labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._buffer, self._recorded_in = None, -1
        super().load_state_dict(state)
        self._finished = set(state["finished"])
        self.labels = None if state["labels"] is None else state["labels"].clone()


def _keeps_all(policy: Policy) -> bool:
    return policy.picker is not None and policy.picker.everything
