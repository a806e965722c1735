"""The engine: runs one policy over n samples - observe, plan, choose - without a model or a loader."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from samplewise.checks import nearest
from samplewise.coresets.table import Subset
from samplewise.data.ids import few, refuse_outside, whole
from samplewise.distributed import collectives
from samplewise.engine.memory import Memory
from samplewise.pickers import Picker, Pool
from samplewise.policy import Policy
from samplewise.rng import generator, seed_of

__all__ = ["Engine"]

Ids = Int[Tensor, " b"]


class Engine(Memory):
    """One policy at work: what was seen of every sample, and what is chosen from it.

    Epochs go forward: `plan(e)` closes the epoch before and opens e. Everything drawn is keyed by
    (seed, epoch, purpose), inside a batch also by step and rank.
    """

    def __init__(self, policy: Policy, n: int, epochs: int, seed: int, labels: Tensor | None = None) -> None:
        policy.check(epochs)
        super().__init__(policy, n, epochs)
        self.seed, self.labels = seed, labels
        self.step = 0
        self._plan: Subset | None = None
        self._planned_in = self._selected_in = -1
        self._weight_of: Tensor | None = None
        self._over = 1
        self._rng = torch.Generator()
        self._finest, self._by_class = policy.ranks or "", policy.by_class
        self._settle_batch()

    def _settle_batch(self) -> None:
        """The batch picker with its numbers of the epoch, and what it learns from the memory then."""
        picker = self.now(self.epoch).batch_picker
        self._batch = None if picker is None else picker.settle(self.memory)

    # -------------------------------------------------------------------------------- planning

    def pass_ids(self, epoch: int) -> Ids:
        """The samples to be seen in a pass before `epoch` is planned."""
        if self.policy.source == "pass" and self._selects_in(epoch) and not self._keeps_all(epoch):
            nested = (
                (picker := self._picker_of(epoch)) is not None and picker.nested and self._plan is not None
            )
            return self.last_plan.ids if nested else torch.arange(self.n)
        if self.policy.refresh is not None:
            due = epoch % self.policy.refresh == 0 and self._selects_in(epoch) and not self._keeps_all(epoch)
            return torch.arange(self.n if due else 0)
        if self.policy.source == "training+pass" and self._planned_in == epoch - 1 >= 0:
            left_out = np.ones(self.n, dtype=bool)
            left_out[self.last_plan.ids.numpy()] = False
            return torch.from_numpy(np.flatnonzero(left_out))
        return torch.empty(0, dtype=torch.int64)

    def pass_due(self, epoch: int) -> bool:
        """Whether a pass is still wanted before `epoch`."""
        return epoch < self.epochs and len(self._missing(epoch)) > 0

    def _missing(self, epoch: int) -> Ids:
        wanted = self.pass_ids(epoch)
        if self._passed is None or not len(wanted):
            return wanted
        return wanted[torch.from_numpy(~self._passed.cpu().numpy()[wanted.numpy()])]

    def _begin(self, epoch: int) -> int:
        """The epoch in which the period of `epoch` began."""
        return epoch - epoch % self.policy.every

    def _selects_in(self, epoch: int) -> bool:
        return self.policy.picker is not None and self._selected_in != self._begin(epoch)

    def _picker_of(self, epoch: int) -> Picker | None:
        return self.now(self._begin(epoch)).picker

    def _keeps_all(self, epoch: int) -> bool:
        picker = self._picker_of(epoch)
        return picker is None or picker.everything

    @property
    def last_plan(self) -> Subset:
        """The plan of the epoch that is open, or of the last one that was."""
        if self._plan is None:
            raise ValueError("no epoch was planned yet: call plan(epoch).")
        return self._plan

    def plan(self, epoch: int) -> Subset:
        """Open `epoch` and give its samples; the same again while it is open."""
        if epoch >= self.epochs:
            raise ValueError(f"epoch {epoch} is beyond the {self.epochs} epochs this selector was built for.")
        if epoch < self.epoch:
            raise ValueError(f"epoch {epoch} is over: the selector is in epoch {self.epoch}.")
        if self.opened and epoch == self.epoch:
            return self.last_plan
        if len(missing := self._missing(epoch)):
            raise ValueError(
                f"{self.policy.name} needs a pass before epoch {epoch}: {len(missing)} samples, first ids "
                f"{few(missing)}, were not observed with source='pass'. See pass_ids({epoch})."
            )
        self.close()
        self.meet()
        self.epoch = epoch
        self._select(epoch)
        self._settle_batch()
        self._planned_in, self.opened, self.step = epoch, True, 0
        self._passed = self._weight_of = None
        return self.last_plan

    def pass_reads(self, epoch: int) -> set[str]:
        """The fields of `Outputs` that the pass before `epoch` is for."""
        return set(self.policy.reads)

    def refuse_drop_last(self, drop_last: bool) -> None:
        """Raise where a loader that drops the last batch would leave out what must be seen."""

    def unfinished(self) -> list[str]:
        """The static methods whose score is not final yet."""
        return []

    def covers(self, epoch: int) -> bool:
        """Whether every sample must be seen in `epoch`, so that shards are padded and not cut."""
        return False

    def preview(self, epoch: int) -> tuple[int, bool]:
        """How many samples `epoch` will have, and whether that is certain or an upper bound."""
        if self.opened and epoch == self.epoch:
            return len(self.last_plan), True
        if not self._selects_in(epoch) and self._plan is not None and self.policy.picker is not None:
            return len(self.last_plan), True
        picker = self._picker_of(epoch)
        if picker is None:
            return self.n, True
        size, exact = picker.size(self.n)
        if not exact and epoch == self.epoch and not self.opened and not self.pass_due(epoch):
            rows = picker.pick(self._pool(epoch)).rows
            return self.n if rows is None else len(rows), True
        return size, exact

    def _pool(self, epoch: int) -> Pool:
        values = {}
        tracker = self.tracker(epoch)
        if self.memory and tracker is not None:
            values = {name: c.cpu() for name, c in tracker.read(self.memory).items()}
        rng = generator(self.seed, self._begin(epoch), "plan")
        before = None if self._plan is None else self._plan.ids
        return Pool(self.n, rng, values, self._ranks(), labels=self.labels, before=before)

    def _ranks(self) -> str | None:
        tracked = None if self.policy.tracker is None else self.policy.tracker.ranks
        return tracked or (self.policy.signals[0].__name__ if self.policy.signals else None)

    def _select(self, epoch: int) -> None:
        picker = self._picker_of(epoch)
        if picker is None:
            if self._plan is None:
                self._plan = Subset(torch.arange(self.n))
        elif self._selects_in(epoch):
            picked = picker.pick(self._pool(epoch))
            rows = torch.arange(self.n) if picked.rows is None else picked.rows
            self._plan = Subset(rows, picked.weights)
            if self.memory and (tracker := self.tracker(epoch)) is not None:
                tracker.chosen(self.memory)
            self._selected_in = self._begin(epoch)
        else:
            return
        if self.policy.batch_picker is None:
            self._count(self.last_plan.ids)

    def order(self) -> Int[Tensor, " k"]:
        """The open epoch's samples in the order of training: shuffled by (seed, epoch) alone."""
        ids = self.last_plan.ids
        rng = generator(self.seed, self.epoch, "order")
        return ids[torch.randperm(len(ids), generator=rng)]

    def close(self) -> None:
        """End the open epoch; later `epoch` is the next."""
        if self.opened:
            if not self._together:
                self.raise_if_failed()
            self.merge()
            if self.memory and (tracker := self.tracker(self.epoch)) is not None:
                tracker.close(self.memory)
            self.epoch, self.opened, self.step = self.epoch + 1, False, 0

    def restart(self) -> None:
        """Begin the open epoch again: its draws repeat, what was observed stays."""
        self.step = 0

    # -------------------------------------------------------------------------------- choosing

    @property
    def narrows(self) -> bool:
        """Whether batches of the open epoch are narrowed; False in annealing and where keep is 1."""
        return self._batch is not None and not self._batch.everything

    def picks_rows(self) -> bool:
        """Whether rows are picked out of batches, in the open epoch or in a later one."""
        if self.policy.batch_picker is None:
            return False
        pickers = (self.now(epoch).batch_picker for epoch in range(self.epoch, self.epochs))
        return any(picker is not None and not picker.everything for picker in pickers)

    @property
    def scores_batches(self) -> bool:
        """Whether `choose` wants a scoring forward of the batch before it."""
        return bool(self.policy.signals)

    @property
    def computes(self) -> bool:
        """Whether choosing itself takes FLOPs worth charging."""
        return False

    def spent(self) -> int:
        """The FLOPs that choosing took since the last call."""
        return 0

    @property
    def looks(self) -> bool:
        """Whether the method reads the data of a batch, so that `look` does anything."""
        return False

    def look(self, ids: Ids, data: Any) -> None:
        """Show a method that chooses by the data of a batch what it is about to choose from."""

    @property
    def uneven(self) -> bool:
        """Whether processes may take means over different numbers from batches of one size."""
        return self._batch is not None and self._batch.uneven

    def mean_over(self, b: int, k: int) -> int:
        """What the mean of a batch of b rows is over: the k chosen, or the draws that fell on them."""
        return k if self._batch is None else self._batch.mean_over(b, k)

    @property
    def observes_chosen(self) -> bool:
        """Whether rows that were chosen by remembered scores are observed when they train."""
        return self.policy.tracker is None or not self.policy.tracker.whole_batches

    def known(self, ids: Ids, call: str) -> Ids:
        """The ids as int64, inside the data set; those observed just before were looked at then."""
        if ids is self.inside:
            return ids
        ids = whole(ids, call)
        if ids.is_cpu:
            refuse_outside(ids, self.n)
        return ids

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        """The rows of a batch to train on, ascending, and their weights (None: all 1)."""
        if not self.opened:
            raise ValueError(f"no epoch is open: call plan({self.epoch}) before choosing.")
        ids = self.known(ids, "choose")
        if not len(ids):
            return ids, None
        if self._batch is None or self._batch.everything:
            return torch.arange(len(ids), device=ids.device), self.weights(ids)
        if not self.memory and ids.device != self._device:
            # Without observations the ids say where counting need not wait for an accelerator.
            self._move(ids.device)
        there = ids.to(self._device, non_blocking=True)
        values: dict[str, Tensor] = {}
        if (tracker := self.tracker(self.epoch)) is not None:
            if not self.memory:
                raise ValueError(
                    f"{self.policy.name} chooses by scores: call observe(ids, ...) before choose(ids)."
                )
            if not self.n:
                values = self._passing(there)
            elif (ranks := self._finest) in self.memory:
                values = {ranks: self.memory[ranks].index_select(0, there)}
            else:
                values = tracker.read(self.memory, there)
        rng = self._rng.manual_seed(seed_of(self.seed, self.epoch, "choose", self.step, self.rank))
        labels = self.labels[ids.cpu()] if self.labels is not None and self._by_class else None
        if not self._on_cpu and not self._batch.on_device:
            there, values = there.cpu(), {name: value.cpu() for name, value in values.items()}
        picked = self._batch.pick(Pool(len(ids), rng, values, self._ranks(), there, labels, 2))
        self.step += 1
        rows = torch.arange(len(ids)) if picked.rows is None else picked.rows
        rows = rows.to(ids.device, non_blocking=True)
        chosen = ids.index_select(0, rows)
        self._count(chosen)
        weights = self.weights(chosen)
        if picked.weights is not None:
            extra = picked.weights.to(ids.device, torch.float32)
            weights = extra if weights is None else weights * extra
        return rows, weights

    def _passing(self, ids: Ids) -> dict[str, Tensor]:
        """What a stream's batch showed, of which nothing is remembered after it."""
        if self.passing is None or not (self.passing is ids or torch.equal(self.passing, ids)):
            raise ValueError("without n, choose(ids) must follow observe(ids, ...) of the same batch.")
        return self.memory

    @property
    def weighted(self) -> bool:
        """Whether the plan of the open epoch has weights; without them `weights` gives None."""
        return self._plan is not None and self._plan.weights is not None

    def weights(self, ids: Ids, over: int = 1) -> Float[Tensor, " b"] | None:
        """The plan's weights of some of its samples, divided by `over`; None if all are 1."""
        if self.last_plan.weights is None:
            return None
        if ids.dtype is not torch.int64:
            ids = whole(ids, "weights")
        if self._weight_of is None or self._over != over or self._weight_of.device != ids.device:
            table = torch.ones(self.n)
            table[self.last_plan.ids] = self.last_plan.weights
            self._weight_of, self._over = table.to(ids.device) / over, over
        try:
            return self._weight_of.index_select(0, ids)
        except IndexError:
            refuse_outside(ids, self.n)
            raise

    # --------------------------------------------------------------------------------- reading

    def score(self, column: str | None = None) -> Shaped[Tensor, " n"]:
        """A column of the memory; without a name, what the finest picker ranks by."""
        columns = self.columns()
        name = column or self.policy.ranks
        if name is None:
            raise ValueError(f"{self.policy.name} keeps no scores.")
        if name not in columns:
            if column is None:
                return torch.full((self.n,), float("nan"))
            has = ", ".join(columns) or "none yet"
            raise ValueError(f"unknown score column {name!r}.{nearest(name, columns)} Columns: {has}.")
        return columns[name]

    def columns(self) -> dict[str, Shaped[Tensor, " n"]]:
        """Every score column, NaN where never observed; empty before the first observation. No vectors."""
        tracker = self.tracker(self.epoch)
        read = tracker.read(self.memory) if self.memory and self.n and tracker is not None else {}
        return {name: column for name, column in read.items() if column.ndim == 1}

    def lr_factor(self, epoch: int) -> float:
        """1 / share that trains, for policies that ask for it."""
        if self.policy.lr is None:
            return 1.0
        if self.policy.lr == "actual":
            return self.n / len(self.plan(epoch))
        picker = self._picker_of(epoch)
        return 1.0 if picker is None else 1.0 / picker.share

    # ----------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Everything that later choices depend on: tensors and plain values only."""
        self.raise_if_failed()
        plan, own = self._plan, self.beside()
        alone = {} if own is None else {"beside": self.everyones if self._together else [own]}
        columns = self.memory.keys() - self.kept_beside() if self.n else ()
        return alone | {
            "epoch": self.epoch,
            "step": self.step,
            "opened": self.opened,
            "planned_in": self._planned_in,
            "selected_in": self._selected_in,
            "ids": None if plan is None else plan.ids.clone(),
            "weights": None if plan is None or plan.weights is None else plan.weights.clone(),
            "weighting": None if plan is None else plan.weighting,
            "passed": None if self._passed is None else self._passed.clone(),
            "times_selected": self.times_selected.clone(),
            "memory": {name: column.clone() for name, column in self.memory.items() if name in columns},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same policy over the same data set."""
        self.epoch, self.step, self.opened = state["epoch"], state["step"], state["opened"]
        self._planned_in, self._selected_in = state["planned_in"], state["selected_in"]
        self._plan = None
        if state["ids"] is not None:
            self._plan = Subset(state["ids"].clone(), _clone(state["weights"]), {}, state["weighting"])
        self._passed, self._failed, self._weight_of = _clone(state["passed"]), None, None
        self.times_selected = state["times_selected"].clone()
        self.memory = {name: column.clone() for name, column in state["memory"].items()}
        if kept := state.get("beside"):
            # Other processes than before take over what those before them kept, in turns.
            self.everyones = [kept[rank % len(kept)] for rank in range(collectives.world())]
            self.take_beside(self.everyones[collectives.rank()])
        self._counted, self._touched, self._bad = self.times_selected.clone(), [], None
        self.meet()
        self._move(self.times_selected.device)
        self._settle_batch()


def _clone(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
