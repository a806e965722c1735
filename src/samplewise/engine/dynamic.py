"""The engine of policies that choose again in every period of epochs, in every batch, or in both."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import warn
from samplewise.data.bits import Bits
from samplewise.data.order import Order
from samplewise.engine.compact import CompactPlan, all_of
from samplewise.engine.engine import Engine
from samplewise.engine.memory import Memory
from samplewise.pickers import Picker, Pool, ranking
from samplewise.policy import Policy
from samplewise.rng import generator, seed_of
from samplewise.signals import Signal
from samplewise.subset import Subset
from samplewise.trackers import Tracker

__all__ = ["Dynamic"]

Ids = Int[Tensor, " b"]

LEAST_ROWS = 2
"""Rows that a batch keeps in any case: batch normalization fails with one."""


class Dynamic(Engine):
    """A policy of level `epoch`, `batch` or `epoch+batch`, with its tracker and its pickers."""

    def __init__(
        self,
        policy: Policy,
        n: int,
        epochs: int,
        seed: int,
        labels: Int[Tensor, " n"] | None = None,
        compact: bool | None = None,
    ) -> None:
        self._carried: dict[str, float] = {}
        """What a picker carries: the notes of its last choice, or what it was settled with."""
        super().__init__(Memory(policy, n, epochs, labels), seed, compact)
        self._tracked = _tracked(*policy.read_by("picker")), _tracked(*policy.read_by("batch_picker"))
        """The columns that the picker and the batch picker rank by unless they name another."""
        self._finest = policy.ranks or ""
        """The column that the batch picker, or else the picker, ranks by."""
        self._by_class = policy.by_class
        self._rng = torch.Generator()
        self._told_least = False
        self._carries = any(picker.carries for picker in policy.pickers)

    # ----------------------------------------------------------------------------------- plans

    def pass_ids(self, epoch: int) -> Ids:
        wanted = self._passing(epoch)
        if wanted == "all":
            return torch.arange(self.n)
        if wanted == "planned":
            return self.last_plan.ids
        if wanted == "left out":
            left_out = np.ones(self.n, dtype=bool)
            left_out[self.last_plan.ids.numpy()] = False
            return torch.from_numpy(np.flatnonzero(left_out))
        return torch.empty(0, dtype=torch.int64)

    def pass_order(self, epoch: int) -> Ids | Order:
        plan, wanted = self._plan, self._passing(epoch)
        if not self.compact or wanted == "none":
            return self.pass_ids(epoch)
        everything = Bits(self.n)
        if isinstance(plan, CompactPlan) and wanted != "all":
            rows = plan.marked.rows
            return Order(rows if wanted == "planned" else everything.without(rows))
        return Order(everything)

    def _passing(self, epoch: int) -> Literal["all", "planned", "left out", "none"]:
        """Which samples the pass before `epoch` observes."""
        policy = self.policy
        if epoch >= self.epochs or self.over(epoch):
            return "none"
        if policy.source == "pass" and self._selects_in(epoch) and not self._keeps_all(epoch):
            picker = self._picker_of(epoch)
            return "planned" if picker is not None and picker.nested and self._plan is not None else "all"
        if policy.refresh is not None:
            due = epoch % policy.refresh == 0 and self._selects_in(epoch) and not self._keeps_all(epoch)
            return "all" if due else "none"
        after_training = policy.source == "training+pass" and self._planned_in == epoch - 1 >= 0
        return "left out" if after_training else "none"

    def _missing(self, epoch: int) -> Ids | Order:
        wanted, passed = self.pass_order(epoch), self.memory.passed
        if not isinstance(wanted, Order) or passed is None:
            return wanted if passed is None else super()._missing(epoch)
        return Order(wanted.chosen.without(Bits.where(passed.cpu().numpy())))

    def _selects_in(self, epoch: int) -> bool:
        return self.policy.picker is not None and self._selected_in != self._period_start(epoch)

    def _keeps_all(self, epoch: int) -> bool:
        picker = self._picker_of(epoch)
        return picker is None or picker.everything

    def preview(self, epoch: int) -> tuple[int, bool]:
        if self.opened and epoch == self.epoch:
            return len(self.last_plan), True
        if self.over(epoch):
            return self.n, True
        if not self._selects_in(epoch) and self._plan is not None and self.policy.picker is not None:
            return len(self.last_plan), True
        picker = self._picker_of(epoch)
        if picker is None:
            return self.n, True
        size, exact = picker.size(self.n)
        if not exact and epoch == self.epoch and not self.opened and not self.pass_due(epoch):
            return len(self._chosen(picker, epoch)[0]), True
        return size, exact

    def select(self, epoch: int) -> Subset:
        picker = self._picker_of(epoch)
        if picker is None:
            plan = all_of(self.n, self.compact) if self._plan is None else self._plan
        elif self._selects_in(epoch):
            plan, self.notes = self._chosen(picker, epoch)
            self._carried = dict(self.notes) if self._carries else {}
            self.memory.chosen()
            self._selected_in = self._period_start(epoch)
        else:
            return self.last_plan
        if self.policy.batch_picker is None:
            self.memory.selected(epoch, plan)
        return plan

    def _chosen(self, picker: Picker, epoch: int) -> tuple[Subset, dict[str, float]]:
        """The samples that a picker chooses for an epoch, and what it says of them."""
        pool = self._pool(epoch)
        if self.compact:
            if picker.nested and self._plan is not None:
                pool = pool._replace(before=self._plan.ids)
            marked = picker.marked(pool)
            return CompactPlan(marked), dict(marked.notes)
        picked = picker.pick(pool)
        rows = torch.arange(self.n) if picked.rows is None else picked.rows
        return Subset(rows, picked.weights), dict(picked.notes)  # a copied Selector pickles the notes

    def _pool(self, epoch: int) -> Pool:
        """All samples, with what is remembered of each. For compact plans it is read in pieces."""
        memory = self.memory
        rng = generator(self.seed, self._period_start(epoch), "plan")
        ranks, times = self._tracked[0], memory.times_selected.cpu()
        pool = Pool(self.n, rng, ranks=ranks, labels=memory.labels, times=times, notes=self._carried)
        if self.compact:
            return pool._replace(read=self._read)
        values = {name: column.cpu() for name, column in memory.level(batch=False).items()}
        return pool._replace(values=values, before=None if self._plan is None else self._plan.ids)

    def _read(self, rows: Ids) -> dict[str, Tensor]:
        """What is remembered of some samples."""
        there = rows.to(self.memory.device)
        return {name: column.cpu() for name, column in self.memory.level(batch=False, ids=there).items()}

    def state_dict(self, copied: bool = True) -> dict[str, Any]:
        return super().state_dict(copied) | ({"carried": dict(self._carried)} if self._carries else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._carried = dict(state.get("carried", {}))
        if self._batch is not None and self.opened and self._batch.carries:
            self._batch = self._batch.settled_with(self._carried)

    # --------------------------------------------------------------------------------- batches

    def _decide(self) -> None:
        super()._decide()
        picker = self.now(self.epoch).batch_picker
        memory = self.memory
        own = memory.columns if memory.tracker is None else memory.tracker.part(memory.columns, batch=True)
        self._batch = batch = None if picker is None else picker.settle(own)
        if batch is not None:
            if batch.carries:
                self._carried = dict(batch.settled)
            self.narrows = not (batch.everything or self.over(self.epoch))
            self.uneven = batch.uneven
        self._follows = memory.tracker is not None and memory.tracker.follows_choices

    def picks_rows(self) -> bool:
        if self.policy.batch_picker is None:
            return False
        until = self.epochs if self.ends is None else self.ends
        pickers = (self.now(epoch).batch_picker for epoch in range(self.epoch, until))
        return any(picker is not None and not picker.everything for picker in pickers)

    def scores_later(self) -> bool:
        until = self.epochs if self.ends is None else self.ends
        later, source = range(self.epoch + 1, until), self.policy.source
        if source == "pass":
            passes = any(e % self.policy.every == 0 and not self._keeps_all(e) for e in later)
        else:
            passes = "pass" in source and bool(later)
        return passes or (self.scores_batches and self.picks_rows())

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        memory, picker = self.memory, self._batch
        if picker is None or not self.narrows or not self.opened:
            return super().choose(ids)
        if ids is not memory.checked_ids:
            ids = self.known(ids, "choose")
        if not len(ids):
            return ids, None
        if not memory.columns and ids.device != memory.device:
            # Nothing was observed yet. On the device of the ids, counting waits for nothing.
            memory.move(ids.device)
        there = ids.to(memory.device, non_blocking=True)
        values = {} if memory.tracker is None else self._values(there)
        rng = self._rng.manual_seed(seed_of(self.seed, self.epoch, "choose", self.step, memory.rank))
        labels = memory.labels[ids.cpu()] if self._by_class and memory.labels is not None else None
        if not memory.on_cpu and not picker.on_device:
            there, values = there.cpu(), {name: value.cpu() for name, value in values.items()}
        if not self.step and not self._told_least:
            self._tell_least(picker, len(ids))
        picked = picker.pick(Pool(len(ids), rng, values, self._tracked[1], there, labels, LEAST_ROWS))
        self.step += 1
        rows = torch.arange(len(ids)) if picked.rows is None else picked.rows
        rows = rows.to(ids.device, non_blocking=True)
        chosen = ids.index_select(0, rows)
        memory.count(chosen)
        if self._follows:
            memory.narrowed(chosen)
        weights = self.weights(chosen) if self.weighted else None
        if picked.weights is not None:
            extra = picked.weights.to(ids.device, torch.float32)
            weights = extra if weights is None else weights * extra
        return rows, weights

    def _tell_least(self, picker: Picker, b: int) -> None:
        """Warn once if the share is less than the rows that a batch of b keeps in any case."""
        if picker.keeps is None or ranking.budget(b, picker.share) >= min(b, LEAST_ROWS):
            return
        self._told_least = True
        warn(
            f"{self.policy.name} keeps {LEAST_ROWS} of the {b} rows of a batch, not the 1 row of "
            f"keep={picker.share:.4g}, because batch normalization fails with one row. Use a larger batch "
            f"(and less accumulation), or a keep above {1 / b:.4g}."
        )

    def _values(self, ids: Ids) -> dict[str, Tensor]:
        """The columns of the rows of a batch. For most methods this is only the column that is ranked by."""
        memory = self.memory
        if not memory.columns:
            raise self._unobserved
        if not self.n:  # of a stream only the last batch is kept
            last = memory.last_ids
            if last is None or not (last is ids or torch.equal(last, ids)):
                raise ValueError("without n, choose(ids) must follow observe(ids, ...) of the same batch.")
            return memory.columns
        if (column := memory.columns.get(self._finest)) is not None:
            return {self._finest: column.index_select(0, ids)}
        if not (values := memory.level(batch=True, ids=ids)):
            raise self._unobserved
        return values

    @property
    def _unobserved(self) -> ValueError:
        return ValueError(f"{self.policy.name} chooses by scores: call observe(ids, ...) before choose(ids).")


def _tracked(signals: tuple[Signal, ...], tracker: Tracker | None) -> str | None:
    """The column that a picker ranks by unless it names another."""
    tracked = None if tracker is None else tracker.ranks
    return tracked or (signals[0].__name__ if signals else None)
