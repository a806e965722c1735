"""The memory of an engine: what was observed of every sample, and how often each was selected."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise import signals
from samplewise.coresets.history import SelectionHistory
from samplewise.data.bits import Bits
from samplewise.data.ids import ascending, refuse_outside, whole
from samplewise.data.outputs import Outputs, refuse_targets
from samplewise.distributed import collectives
from samplewise.engine.bad_losses import BadLosses, in_float32
from samplewise.engine.compact import CompactPlan
from samplewise.engine.levels import measured, memory_of, nonnegative
from samplewise.engine.merging import begin_as_others, merge_rows
from samplewise.policy import Policy
from samplewise.signals import measure
from samplewise.subset import Subset
from samplewise.trackers import Tracker

__all__ = ["Memory"]

Ids = Int[Tensor, " b"]

_CHECK_EVERY = 32
"""Number of steps after which processes on CPUs ask each other for losses that are not finite."""


class Memory:
    """The tracker's columns of n samples and the counts of selections, on the device of the losses.

    The counts take 4 bytes a sample beyond those in a tracker's docstring.

    It checks what it observes. Several processes exchange what they observed in `merge`. The engine calls
    `enter` when an epoch opens or ends, which decides what `observe` needs to know.

    Args:
        policy: the method.
        n: number of samples; 0 for a stream without end, of which only the last batch is kept.
        epochs: length of the training.
        labels: class numbers, if they are known.
    """

    def __init__(self, policy: Policy, n: int, epochs: int, labels: Int[Tensor, " n"] | None = None) -> None:
        policy.check(epochs)
        self.policy, self.n, self.epochs, self.labels = policy, n, epochs, labels
        self.columns: dict[str, Tensor] = {}
        self.times_selected = torch.zeros(n, dtype=torch.int32)
        self.history: SelectionHistory | None = None
        """Which samples each selection took, if that is kept."""
        self.passed: Tensor | None = None
        """Which samples were observed in a pass since the last plan; None: no pass."""
        self.last_ids: Ids | None = None
        """Of a stream without end: the ids of the batch that `columns` holds."""
        self.checked_ids: Ids | None = None
        """The ids that were checked last, or came from the plan. They are not checked again."""
        self.device, self.on_cpu = torch.device("cpu"), True
        self._measured = {source: measured(policy, source) for source in ("training", "pass")}
        """The signals of each source, by what their names begin with."""
        self.sources = [source for source, found in self._measured.items() if found]
        self.bad = BadLosses(policy.name, policy.nonnegative)
        self.local = () if (tracker := memory_of(policy)) is None else tracker.local
        """Names of the entries of `columns` that have no row a sample: each process keeps its own."""
        self.local_states: list[dict[str, Any]] = []
        """The local state of every process, as it was at the last merge."""
        self._nonnegative = policy.nonnegative
        # The usual case has a faster path.
        self._only_loss = policy.batch_tracker is None and policy.signals == (signals.loss,)
        self._begun: set[str] = set()
        """The sources that were observed since it was built or loaded. Their columns have begun."""
        self._reads_targets, self._targets_checked = "targets" in policy.reads, False
        self._unmerged: list[Ids] = []
        self._everywhere = False
        """Whether every process has columns. They stay, so the processes need not ask again."""
        """Ids observed since the last merge."""
        self.rank, self.together, self._merged_times = 0, False, self.times_selected
        self.epoch, self.opened, self.uses_training = 0, False, False
        self.tracker: Tracker | None = None
        self._for_pass: Tracker | None = None
        self.meet()

    # ------------------------------------------------------------------------------- the epoch

    def enter(self, epoch: int, opened: bool, tracker: Tracker | None, for_pass: Tracker | None) -> None:
        """Set the epoch, which is open or comes next.

        Args:
            epoch: its number.
            opened: whether it is open.
            tracker: what training is written to, with its numbers of this epoch.
            for_pass: what a pass is written to. While an epoch is open a pass is for the next one.
        """
        self.epoch, self.opened = epoch, opened
        self.tracker, self._for_pass = tracker, for_pass
        self.uses_training = self.uses("training")

    def meet(self) -> None:
        """Read rank and world size again: the process group may start after the Selector was built."""
        self.rank, together = collectives.rank(), collectives.world() > 1
        if together and not self.together:
            self._merged_times = self.times_selected.clone()
        self.together = together

    # --------------------------------------------------------------------------------- observe

    def observe(self, ids: Ids, outputs: Outputs, source: str) -> bool:
        """Remember the outputs of a forward for `ids`. Return False if the method ignores the source.

        Losses and ids are checked in both cases. A bad loss is an error at once in one process on a CPU. On
        an accelerator and with several processes its row is not written, and the error comes with the next
        merge.
        """
        training = source == "training"
        if not training:
            self.meet()
        if ids.dtype is not torch.int64:
            ids = whole(ids, "observe")
        loss = outputs.loss.detach()
        if loss.shape != ids.shape:
            raise ValueError(
                f"observe needs one loss for each id, got ids of shape {tuple(ids.shape)} and losses of "
                f"shape {tuple(loss.shape)}."
            )
        on_cpu, together, good = loss.is_cpu, self.together, None
        if loss.dtype is torch.float64:
            outputs = in_float32(ids, outputs, self.epoch, refuse=on_cpu and not together)
            loss = outputs.loss
        used = self.uses_training if training else self.uses(source)
        if on_cpu:
            # The cheapest check: if the sum is finite, every loss is finite. (The sum may also overflow.)
            fine = math.isfinite(loss.sum().item())
            if fine and self._nonnegative and len(ids):
                fine = loss.amin().item() >= 0
            if together:
                self.bad.batches += 1
                good = None if fine else self.bad.set_aside(ids, loss)
            elif not fine:
                self.bad.refuse(ids, loss, self.epoch)
        if ids is not self.checked_ids and (on_cpu or ids.is_cpu):  # do not wait for ids on an accelerator
            refuse_outside(ids, self.n)
            self.checked_ids = ids
        if training and not self.opened:
            raise ValueError(f"no epoch is open: call plan({self.epoch}) before observing training.")
        if not on_cpu:
            good = self.bad.flag(loss)
        # With several processes, one with no rows starts its columns too: the next merge needs them in all.
        if not used or not (len(ids) or together):
            if self._reads_targets and not self._targets_checked and on_cpu:
                # Targets that a later pass cannot use are found at the first batch.
                refuse_targets(ids, outputs, self.epoch)
                self._targets_checked = True
            return used
        if not (on_cpu and ids.is_cpu):
            ids = ids.to(loss.device, non_blocking=True)
        self.remember(ids, outputs, source, good)
        if not training:
            if self.passed is None:
                self.passed = torch.zeros(self.n, dtype=torch.bool, device=loss.device)
            self.passed[ids] = True
        if together and self.n:
            self._unmerged.append(ids)
        return True

    def count(self, ids: Ids) -> None:
        """Add one selection to each of `ids`. A repeated id counts once."""
        counts = self.times_selected
        if not self.n:
            return
        if self.on_cpu:
            counts.numpy()[(ids if ids.is_cpu else ids.cpu()).numpy()] += 1
        else:
            ids = ids.to(counts.device)
            counts.index_copy_(0, ids, counts.index_select(0, ids) + 1)

    def selected(self, epoch: int, plan: Subset) -> None:
        """Count a selection for a whole epoch, and note it in the history if there is one."""
        rows = plan.marked.rows if isinstance(plan, CompactPlan) else plan.ids
        if isinstance(rows, Bits):
            for start, part in rows.parts():
                counts = self.times_selected[start : start + len(part)]
                counts += torch.from_numpy(part).to(counts.device)
        else:
            self.count(rows)
        if self.history is not None:
            self.history.add(epoch, rows)

    def move(self, device: torch.device) -> None:
        """Move everything to `device`: the memory is where the losses are."""
        self.device, self.on_cpu = device, device.type == "cpu"
        self.columns = {name: column.to(device) for name, column in self.columns.items()}
        self.times_selected = self.times_selected.to(device)
        if self.passed is not None:
            self.passed = self.passed.to(device)

    # ------------------------------------------------------- what another kind of memory fills in

    def uses(self, source: str) -> bool:
        """Whether an observation from `source` is remembered now."""
        return source in self.sources

    def remember(self, ids: Ids, outputs: Outputs, source: str, good: Tensor | None) -> None:
        """Write checked outputs, on the device of the losses. Rows that are not `good` stay as they are."""
        tracker = self.tracker if source == "training" else self._for_pass
        if tracker is None:
            return
        loss = outputs.loss
        if loss.requires_grad:
            loss = loss.detach()
        if self._reads_targets and loss.is_cpu:
            refuse_targets(ids, outputs, self.epoch)
        if self._only_loss:
            values = {"loss": loss if loss.dtype == torch.float32 else loss.float()}
        else:
            values = self._values(ids, outputs, source, good)
        if not (loss.is_cpu and self.on_cpu) and self.device != loss.device:
            self.move(loss.device)
        if not self.n:
            self.columns, self.last_ids = values, ids
            return
        if source not in self._begun:
            tracker.begin(self.n, values, self.columns)
            self._begun.add(source)
        if good is None:
            tracker.observe(self.columns, ids, values)
            return
        own = {name: self.columns[name] for name in self.local if name in self.columns}
        columns = [column for name, column in self.columns.items() if column.ndim and name not in own]
        before = [column.index_select(0, ids) for column in columns]
        tracker.observe(self.columns, ids, values)
        for name, entry in own.items():  # nothing of a batch with a bad loss
            self.columns[name] = torch.where(good.all(), self.columns[name], entry)
        for column, old in zip(columns, before, strict=True):
            right = good.reshape(-1, *[1] * (column.ndim - 1))
            column.index_copy_(0, ids, torch.where(right, column.index_select(0, ids), old))

    def _values(self, ids: Ids, outputs: Outputs, source: str, good: Tensor | None) -> dict[str, Tensor]:
        """The signals of a source, by their names in the memory."""
        values: dict[str, Tensor] = {}
        for prefix, measures in self._measured[source].items():
            found = measure(measures, outputs, self.policy.name)
            if good is None:
                self.bad.refuse_values(ids, found, self.epoch, nonnegative(self.policy, prefix))
            values |= {prefix + name: value for name, value in found.items()} if prefix else found
        return values

    def level(self, batch: bool, ids: Ids | None = None) -> dict[str, Tensor]:
        """What the picker of batches, or that of epochs, reads of `ids` or all samples. Empty at first."""
        if self.tracker is None or not (own := self.tracker.part(self.columns, batch)):
            return {}
        return self.tracker.level(batch).read(own, ids)

    def exchanged(self) -> list[str]:
        """Names of the columns in which processes may differ until they merge."""
        return [] if self.tracker is None else self.tracker.exchanged(self.columns)

    def local_state(self) -> dict[str, Any] | None:
        """Per-process state, on the CPU; None if the method has none."""
        if not self.local:
            return None
        return {name: self.columns[name].to("cpu", copy=True) for name in self.local if name in self.columns}

    def load_local_state(self, state: dict[str, Any]) -> None:
        """Load the local state of one process."""
        self.columns |= {name: entry.clone() for name, entry in state.items()}

    def chosen(self) -> None:
        """Tell the tracker that the plan has chosen from its columns."""
        if self.columns and self.tracker is not None:
            self.tracker.chosen(self.columns)

    def narrowed(self, ids: Ids) -> None:
        """Tell the tracker which samples of a batch were chosen."""
        if self.columns and self.tracker is not None:
            self.tracker.narrowed(self.columns, ids.to(self.device))

    def restart(self) -> None:
        """Begin the open epoch again: what was observed stays."""

    def close(self) -> None:
        """End the open epoch."""
        if self.columns and self.tracker is not None:
            self.tracker.close(self.columns)

    def finish(self) -> None:
        """Make final the scores that no later observation can change. Only static methods have them."""

    def read(self) -> dict[str, Tensor]:
        """Every score column, NaN where never observed; empty before the first observation. No vectors."""
        if not (self.columns and self.n and self.tracker is not None):
            return {}
        return {name: column for name, column in self.tracker.read(self.columns).items() if column.ndim == 1}

    # ------------------------------------------------------------------------ several processes

    def exchange(self, steps: int, every: int | None) -> None:
        """After `steps` steps, the same in every process: merge every `every` steps; or stop for bad losses.

        Processes on CPUs ask each other for losses that are not finite. An accelerator would have to wait.
        """
        if every is not None and steps % every == 0:
            self.merge()
        elif steps % _CHECK_EVERY == 0 and self.on_cpu:
            self.fail_together()

    def fail_together(self) -> None:
        """Raise in every process for the bad losses of any. Every process must call it."""
        self.bad.fail_together(self.epoch)

    def merge(self) -> None:
        """With several processes: get what the others observed since the last merge."""
        if not self.together:
            return
        self.fail_together()
        none = torch.empty(0, dtype=torch.int64, device=self.device)
        unmerged = ascending(torch.cat([*self._unmerged, none]), self.n)
        self._unmerged = []
        if self.tracker is not None and not self._everywhere:
            begin_as_others(self.columns, self.device)
            self._everywhere = bool(self.columns)
        for ids in merge_rows(unmerged, [self.columns[name] for name in self.exchanged()]):
            if self.passed is not None:
                self.passed[ids] = True
        if (own := self.local_state()) is not None:
            self.local_states = collectives.everyone(own)
        if self.counts_rows:
            before = self._merged_times.to(self.times_selected.device)
            self.times_selected = before + collectives.add_up(self.times_selected - before)
            self._merged_times = self.times_selected.clone()

    @property
    def counts_rows(self) -> bool:
        """Whether rows are counted when a batch is narrowed. Then each process counts its own rows."""
        return self.policy.batch_picker is not None

    @property
    def merged(self) -> bool:
        """Whether the other processes know everything that this one observed."""
        if not self.together:
            return True
        before = self._merged_times.to(self.times_selected.device)
        counted = self.counts_rows and not torch.equal(self.times_selected, before)
        return not (self._unmerged or self.bad.waiting or counted)

    # ----------------------------------------------------------------------------------- state

    def state_dict(self, copied: bool = True) -> dict[str, Any]:
        """What was observed and counted: tensors and plain values. If not copied, later steps change it."""
        self.bad.raise_flagged(self.epoch)
        own = self.local_state()
        local = {} if own is None else {"beside": self.local_states if self.together else [own]}
        names = self.columns.keys() - set(self.local) if self.n else ()
        history = {} if self.history is None else {"history": self.history.state_dict()}
        return (
            local
            | history
            | {
                "passed": self.passed if self.passed is None or not copied else self.passed.clone(),
                "times_selected": self.times_selected.clone() if copied else self.times_selected,
                "memory": {n: c.clone() if copied else c for n, c in self.columns.items() if n in names},
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same method over the same samples."""
        self.bad.clear()
        self._unmerged, self.last_ids, self._begun, self._everywhere = [], None, set(), False
        self.passed = None if state["passed"] is None else filled(self.passed, state["passed"])
        self.times_selected = filled(self.times_selected, state["times_selected"])
        self.columns = {
            name: filled(self.columns.get(name), column) for name, column in state["memory"].items()
        }
        if self.history is not None:
            self.history = SelectionHistory.from_state(self.n, state["history"])
        if kept := state.get("beside"):
            # If the number of processes has changed, rank r takes saved state r modulo their number.
            self.local_states = [kept[rank % len(kept)] for rank in range(collectives.world())]
            self.load_local_state(self.local_states[collectives.rank()])
        self.meet()
        self._merged_times = self.times_selected.clone() if self.together else self.times_selected
        self.move(self.times_selected.device)


def filled(column: Tensor | None, saved: Tensor) -> Tensor:
    """A copy of a saved column, in the memory of the present one if it fits."""
    if column is not None and column.shape == saved.shape and column.dtype == saved.dtype:
        return column.copy_(saved) if column.device == saved.device else saved.clone()
    return saved.clone()
