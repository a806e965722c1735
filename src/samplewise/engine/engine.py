"""The engine: runs one method over n samples - observe, plan, choose - without a model or a loader."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from samplewise.checks import nearest
from samplewise.data.ids import few, refuse_outside, whole
from samplewise.data.order import Order
from samplewise.engine.compact import COMPACT_FROM, CompactPlan, all_of, plan_from, state_of
from samplewise.engine.levels import memory_of
from samplewise.engine.memory import Memory
from samplewise.engine.record import Record
from samplewise.pickers import Picker
from samplewise.policy import Policy
from samplewise.subset import Subset

__all__ = ["Engine"]

Ids = Int[Tensor, " b"]


class Engine(ABC):
    """One method at work: its memory, its epochs, and what it chooses.

    Epochs go forward: `plan(e)` closes the epoch before and opens e. Every draw is keyed by (seed, epoch,
    purpose), inside a batch also by step and rank. There are three kinds: `Dynamic`, for policies that
    choose again in every epoch or batch, `Static`, and `Adopted`, for a method object of the user.

    The attributes below are what a step reads. They are decided when an epoch opens or ends, and when a state
    is loaded.

    Args:
        memory: what the method remembers. It stays the same object for the life of the engine.
        seed: of every draw.
        compact: keep plans as bits, see `CompactPlan`; None: from `COMPACT_FROM` samples on.
    """

    narrows: bool
    """Whether batches of the open epoch are narrowed. False during annealing and if keep is 1."""
    scores_batches: bool
    """Whether `choose` needs a scoring forward of the batch before it."""
    observes_chosen: bool
    """Whether rows that were chosen by remembered scores are observed when they are trained on."""
    uneven: bool
    """Whether processes may keep different numbers of rows of equal batches, so means need one divisor."""
    computes: bool
    """Whether the choice itself needs FLOPs that are charged: see `spent`."""
    looks: bool
    """Whether the method reads the data of a batch: see `look`."""
    weighted: bool
    """Whether the plan has weights; without them `weights` gives None."""
    uses_training: bool
    """Whether an observation from training is remembered in this epoch."""
    together: bool
    """Whether several processes train."""
    notes: Mapping[str, float] = MappingProxyType({})
    """What the picker said about the selection that was made when the last epoch opened: `Picked.notes`."""
    records: Mapping[str, Record] = MappingProxyType({})
    """The static methods at work, by name; empty for all other kinds."""

    def __init__(self, memory: Memory, seed: int, compact: bool | None = None) -> None:
        self.memory, self.seed = memory, seed
        self.compact = memory.n >= COMPACT_FROM if compact is None else compact
        self.policy, self.n, self.epochs = memory.policy, memory.n, memory.epochs
        self._sized = self.policy.sized(self.n)
        self._resolved: dict[int, Policy] = {}
        self.step = 0
        self.ends: int | None = None
        """The epoch from which on nothing is selected: see `end_selection`. None: there is none."""
        self._planned_in = self._selected_in = -1
        self._divisor = 1
        self._set_plan(None)
        self._batch: Picker | None = None
        """The batch picker with its numbers of the epoch."""
        self._ranked = self.policy.ranks
        """The column that `score` gives without a name."""
        self._enter(0, opened=False)

    # ------------------------------------------------------------- what each kind of engine overrides

    @abstractmethod
    def pass_ids(self, epoch: int) -> Ids:
        """The samples to observe in a pass before `epoch` is planned."""

    @abstractmethod
    def preview(self, epoch: int) -> tuple[int, bool]:
        """How many samples `epoch` will have, and whether that is exact or an upper bound."""

    @abstractmethod
    def select(self, epoch: int) -> Subset:
        """Make the plan of `epoch` and count its samples, or return the last plan if it still holds."""

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        """The rows of a batch to train on, ascending, and their weights (None: all 1)."""
        self.refuse_closed()
        ids = self.known(ids, "choose")
        if not len(ids):
            return ids, None
        return torch.arange(len(ids), device=ids.device), self.weights(ids)

    def _decide(self) -> None:
        """Set the attributes that every step of the epoch reads."""
        tracker = memory_of(self.policy)
        self.observes_chosen = tracker is None or not tracker.whole_batches
        self.scores_batches = bool(self.policy.signals)
        self.narrows = self.uneven = self.computes = self.looks = False

    def pass_reads(self, epoch: int) -> set[str]:
        """The fields of `Outputs` that the pass before `epoch` must give."""
        return set(self.policy.reads)

    def picks_rows(self) -> bool:
        """Whether rows are picked out of batches, in the open epoch or in a later one."""
        return False

    def covers(self, epoch: int) -> bool:
        """Whether every sample must be seen in `epoch`, so that shards are padded and not cut."""
        return False

    def scores_later(self) -> bool:
        """Whether a scoring forward may come later, in the open epoch or in one after it."""
        return True

    def end_selection(self, epoch: int) -> None:
        """From `epoch` on train on every sample, with weight 1: no passes, choices or observations."""
        self.ends = epoch
        self.memory.sources, self.memory.uses_training = [], False

    def over(self, epoch: int) -> bool:
        """Whether selection has ended before `epoch`."""
        return self.ends is not None and epoch >= self.ends

    def keep_all(self, ids: Ids) -> None:
        """Count a batch that trains whole in an epoch that narrows. Later draws stay as they are."""
        self.step += 1
        self.memory.count(ids)

    def look(self, ids: Ids, data: Any) -> None:  # noqa: B027 - most methods do not look at data
        """Show the method the data of a batch before it chooses from it."""

    def spent(self) -> int:
        """The FLOPs spent on choosing since the last call."""
        return 0

    def subset(self, name: str | None, provenance: Mapping[str, Any] | None = None, **wanted: Any) -> Subset:
        """The coreset of one static method, once its score is final."""
        raise self.not_static

    # ---------------------------------------------------------------------------------- epochs

    def _enter(self, epoch: int, *, opened: bool) -> None:
        """Set the epoch, which is open or comes next, and decide what its steps read."""
        self.epoch, self.opened, self.step = epoch, opened, 0
        memory, tracker = self.memory, memory_of(self.now(epoch))
        memory.enter(epoch, opened, tracker, memory_of(self.now(epoch + 1)) if opened else tracker)
        self.uses_training, self.together = memory.uses_training, memory.together
        self._decide()

    def now(self, epoch: int) -> Policy:
        """The policy with its numbers of an epoch."""
        epoch = min(epoch, self.epochs - 1)
        if epoch not in self._resolved:
            self._resolved[epoch] = self._sized.at(epoch, self.epochs)
        return self._resolved[epoch]

    def meet(self) -> None:
        """Read rank and world size again: the process group may start after the Selector was built."""
        self.memory.meet()
        self.together = self.memory.together

    def pass_due(self, epoch: int) -> bool:
        """Whether a pass is still needed before `epoch`."""
        return len(self._missing(epoch)) > 0

    def pass_order(self, epoch: int) -> Ids | Order:
        """`pass_ids`; if plans are compact, in a form that takes no memory or a few bits a sample."""
        return self.pass_ids(epoch)

    def _missing(self, epoch: int) -> Ids | Order:
        """The samples of the pass before `epoch` that were not observed yet."""
        wanted, passed = self.pass_ids(epoch), self.memory.passed
        if passed is None or not len(wanted):
            return wanted
        return wanted[torch.from_numpy(~passed.cpu().numpy()[wanted.numpy()])]

    @property
    def last_plan(self) -> Subset:
        """The plan of the open epoch, or of the last one that was open."""
        if self._plan is None:
            raise ValueError("no epoch was planned yet: call plan(epoch).")
        return self._plan

    def plan(self, epoch: int) -> Subset:
        """Open `epoch` and return its samples. While it is open, return the same again."""
        if epoch >= self.epochs:
            raise ValueError(
                f"epoch must be in [0, {self.epochs}), got {epoch}: this Selector has epochs={self.epochs}."
            )
        if epoch < self.epoch:
            raise ValueError(f"epoch must be at least {self.epoch}, got {epoch}: earlier epochs are over.")
        if self.opened and epoch == self.epoch:
            return self.last_plan
        if len(missing := self._missing(epoch)):
            raise ValueError(
                f"{self.policy.name} needs a pass before epoch {epoch}: {len(missing)} samples, first ids "
                f"{few(missing)}, were not observed. Observe pass_ids({epoch}) with source='pass'."
            )
        self.close()
        self.meet()
        if epoch > self.epoch:
            self.skip_to(epoch)
        self.notes = {}
        plan = self._everything(epoch) if self.over(epoch) else self.select(epoch)
        self._set_plan(CompactPlan.from_plan(self.n, plan) if self.compact else plan)
        self._planned_in, self.memory.passed = epoch, None
        self._enter(epoch, opened=True)
        return self.last_plan

    def _everything(self, epoch: int) -> Subset:
        """The plan of an epoch after the end of selection."""
        plan = all_of(self.n, self.compact)
        if self.n and not self.memory.counts_rows:
            self.memory.selected(epoch, plan)
        return plan

    def _set_plan(self, plan: Subset | None) -> None:
        self._plan = plan
        self._weight_of: Tensor | None = None
        self.weighted = plan is not None and plan.weighted

    def restart(self) -> None:
        """Begin the open epoch again. Its draws repeat; the observations stay."""
        self.step = 0
        self.memory.restart()

    def close(self) -> None:
        """End the open epoch. Then `epoch` is the next one."""
        if self.opened:
            if not self.memory.together:
                self.memory.bad.raise_flagged(self.epoch)
            self.merge()
            self.memory.close()
            self.skip_to(self.epoch + 1)

    def skip_to(self, epoch: int) -> None:
        """Make `epoch` the next epoch and leave out the epochs before it. This does not open it."""
        self._enter(epoch, opened=False)
        self.finish()

    def refuse_drop_last(self, drop_last: bool) -> None:
        """Raise if a loader that drops the last batch would leave out samples that must be seen."""
        for name, record in self.records.items():
            if drop_last and record.tracker is not None and record.tracker.complete:
                raise ValueError(
                    f"drop_last must be False, got True: {name} must see every sample in every epoch."
                )

    def lr_factor(self, epoch: int) -> float:
        """1 / (share that is trained on), for policies with `lr`; else 1."""
        if self.policy.lr is None or self.over(epoch):
            return 1.0
        if self.policy.lr == "actual":
            return self.n / len(self.plan(epoch))
        picker = self._picker_of(epoch)
        return 1.0 if picker is None else 1.0 / picker.share

    def _picker_of(self, epoch: int) -> Picker | None:
        """The picker with its numbers of the epoch in which the period of `epoch` began."""
        return self.now(self._period_start(epoch)).picker

    def _period_start(self, epoch: int) -> int:
        return epoch - epoch % self.policy.every

    # --------------------------------------------------------------------------------- batches

    def refuse_closed(self) -> None:
        """Raise if no epoch is open."""
        if not self.opened:
            raise ValueError(f"no epoch is open: call plan({self.epoch}) before choosing.")

    def known(self, ids: Ids, call: str) -> Ids:
        """Check ids: int64, inside the data set. The ids that were observed last are not checked again."""
        if ids is self.memory.checked_ids:
            return ids
        ids = whole(ids, call)
        if ids.is_cpu:
            refuse_outside(ids, self.n)
        return ids

    def mean_over(self, b: int, k: int) -> int:
        """The divisor of the mean loss of k rows that were chosen from a batch of b."""
        return k if self._batch is None else self._batch.mean_over(b, k)

    def weights(self, ids: Ids, over: int = 1) -> Float[Tensor, " b"] | None:
        """The plan's weights of some of its samples, divided by `over`; None if all are 1.

        The first call makes a table of them: 4 bytes for each of the n samples. A compact plan needs none.
        """
        plan = self._plan
        if isinstance(plan, CompactPlan):
            return plan.weights_of(self.known(ids, "weights"), over) if self.weighted else None
        if plan is None or plan.weights is None:
            return None
        if ids.dtype is not torch.int64:
            ids = whole(ids, "weights")
        if self._weight_of is None or self._divisor != over or self._weight_of.device != ids.device:
            table = torch.ones(self.n)
            table[plan.ids] = plan.weights
            self._weight_of, self._divisor = table.to(ids.device) / over, over
        try:
            found = self._weight_of.index_select(0, ids)
        except IndexError:
            refuse_outside(ids, self.n)
            raise
        return found.mean().expand(len(ids)) if plan.weighting == "batch_mean" else found

    # ---------------------------------------------------------------------------------- scores

    def score(self, column: str | None = None) -> Shaped[Tensor, " n"]:
        """A column by name. Without a name: what the batch picker, or else the picker, ranks by."""
        columns = self.columns()
        name = column or self._ranked
        if name is None and len(self.records) > 1:
            raise ValueError(f"column must be one of {', '.join(columns) or 'none yet'}, got None.")
        if name is None:
            raise ValueError(f"{self.policy.name} keeps no scores, so there is no column to return.")
        if name not in columns:
            if column is None:
                return torch.full((self.n,), float("nan"))
            has = ", ".join(columns) or "none yet"
            raise ValueError(f"unknown score column {name!r}.{nearest(name, columns)} Columns: {has}.")
        return columns[name]

    def columns(self) -> dict[str, Shaped[Tensor, " n"]]:
        """Every score column, NaN where never observed; empty before the first observation. No vectors."""
        return self.memory.read()

    def finish(self) -> None:
        """Make final those scores of static methods that no later observation can change."""
        self.memory.finish()

    @property
    def not_static(self) -> ValueError:
        """The error for a method that keeps no coreset."""
        name, level = self.policy.name, self.policy.level
        return ValueError(f"{name} is of level {level}: only static methods keep a coreset.")

    @property
    def final(self) -> dict[str, int]:
        """For each static method the epoch before which its score is final."""
        return {name: record.final for name, record in self.records.items()}

    def unfinished(self) -> list[str]:
        """The static methods whose score is not final yet."""
        self.finish()
        return [name for name, record in self.records.items() if not record.done]

    # ----------------------------------------------------------------------------------- memory

    def merge(self) -> None:
        """With several processes: get what the others observed since the last merge."""
        self.memory.merge()

    @property
    def labels(self) -> Int[Tensor, " n"] | None:
        """Class numbers, given or learned from targets."""
        return self.memory.labels

    @property
    def times_selected(self) -> Int[Tensor, " n"]:
        """How often each sample was selected."""
        return self.memory.times_selected

    # ----------------------------------------------------------------------------------- state

    def state_dict(self, copied: bool = True) -> dict[str, Any]:
        """All that later choices depend on: tensors and plain values. Not copied: later steps change it."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "opened": self.opened,
            "planned_in": self._planned_in,
            "selected_in": self._selected_in,
            **state_of(self._plan, self.compact),
            **self.memory.state_dict(copied),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same policy over the same data set."""
        self._planned_in, self._selected_in = state["planned_in"], state["selected_in"]
        self._set_plan(plan_from(self.n, state))
        self.memory.load_state_dict(state)
        self._enter(state["epoch"], opened=state["opened"])
        self.step = state["step"]
