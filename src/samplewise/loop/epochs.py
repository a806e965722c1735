"""`Timeline`: opens and closes the epochs of a training, orders and deals their ids, knows lengths."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jaxtyping import Int
from torch import Tensor

from samplewise.checks import warn
from samplewise.cost.flops import get_ready
from samplewise.cost.ledger import Ledger
from samplewise.data.outputs import Batch
from samplewise.distributed import collectives
from samplewise.engine.engine import Engine
from samplewise.engine.exports import Exports
from samplewise.loop import passes
from samplewise.loop.agreement import agree, digest
from samplewise.loop.clock import Clock
from samplewise.loop.ids import Ids, dealt
from samplewise.loop.listeners import Listeners
from samplewise.loop.mask import PlanMask
from samplewise.loop.position import Position
from samplewise.loop.requirements import refuse_several
from samplewise.loop.step import Step
from samplewise.rng import seed_of
from samplewise.subset import Subset

__all__ = ["Timeline"]


class Timeline:
    """The epochs of one training. Loaders, samplers and the adapters of frameworks talk to it.

    An epoch opens with the pass that it needs, if any, and with its plan. It closes when a loop asks for a
    batch after the last one, or when the next epoch opens.

    Args:
        engine: plans and remembers.
        ledger: counts samples, forwards and seconds.
        exports: notes the cost of scores that become final.
        position: the counts of the open epoch.
        step: trains on the batches.
        dataset: the samples; None for the engine alone.
    """

    def __init__(
        self, engine: Engine, ledger: Ledger, exports: Exports, position: Position, step: Step, dataset: Any
    ) -> None:
        self.engine, self.ledger, self.exports = engine, ledger, exports
        self.step, self.dataset = step, dataset
        self.epochs, self.position, self.batch_size = engine.epochs, position, position.batch_size
        self.policy, self.waiting = engine.policy, step.waiting
        self.collate: Callable[[list[Any]], Any] | None = None
        """Collates the samples of the loader in use, and those of passes."""
        self.closed, self._clock = Listeners(), Clock(engine, ledger, position)
        self._mask: PlanMask | None = None
        self._skip = 0
        """Number of ids of the open epoch that the resumed iteration leaves out."""
        self._resumed = self._agreed = self._skipped = self._warned_early = self._warned_no_calls = False
        self._loaded: str | None = None
        """Digest of what was loaded and must be equal on all processes."""

    # --------------------------------------------------------------------- open and close

    @property
    def epoch(self) -> int:
        """The open epoch, or the next one if none is open."""
        return self.engine.epoch

    @property
    def open_or_next(self) -> int:
        """`epoch`, or the last epoch when training is over. Lengths refer to it."""
        return min(self.engine.epoch, self.epochs - 1)

    def set_epoch(self, epoch: int) -> None:
        """Close the epoch before, open this one if it is not open. `set_epoch(epochs)` closes the last."""
        engine = self.engine
        if epoch != self.epochs:
            self._skipped |= epoch > 0 and not (engine.opened or engine.epoch or self.position.method_called)
            self.open(epoch)
        elif engine.epoch < epoch:
            self._close()
            engine.skip_to(epoch)
            self.last_pass()

    def open(self, epoch: int) -> None:
        """Make the pass that `epoch` needs, then its plan."""
        engine = self.engine
        self.agree()
        if engine.opened and epoch == engine.epoch:
            return
        if engine.opened and epoch > engine.epoch:
            self._close()
        if engine.pass_due(epoch):
            self._run_pass(epoch)
        begun = time.perf_counter()
        self.plan(epoch)
        self.ledger.seconds["selecting"] += time.perf_counter() - begun

    def plan(self, epoch: int) -> Subset:
        """Open `epoch`: its samples, equal on every rank, and their weights (None: all 1)."""
        engine = self.engine
        self.agree()
        if not (engine.opened and epoch == engine.epoch):
            if engine.opened and epoch > engine.epoch:
                self._close()
            engine.plan(epoch)
            if engine.notes:
                self.ledger.selected(epoch, engine.notes)
            self._reset_counts()
            self.position.from_loader = self._resumed = False
            if self.waiting is not None:
                self.waiting.open()
        return engine.last_plan

    def _reset_counts(self) -> None:
        """Set all counts of the open epoch to 0."""
        self.position.reset()
        self._skip = 0
        self._clock.forget()
        self.ledger.opened()
        if self.engine.narrows and self.step.first_narrowed is None:
            self.step.first_narrowed = self.engine.epoch
        self.step.open()
        self._show_plan()

    def end_epoch(self) -> None:
        """Close the open epoch, as the loader does after its last batch. No other epoch opens."""
        if self.engine.opened:
            self._close()

    def _close(self) -> None:
        """Close the open epoch. After the last one, make the pass that is still due."""
        closing = self.epoch
        self.step.close()
        self._warn_unheard()
        self.position.charge(closing=True)
        begun = time.perf_counter()
        self.engine.close()
        if self.policy.level == "static":  # it measures now what it only copied in the steps
            self.ledger.seconds["selecting"] += time.perf_counter() - begun
        self.exports.note_final()
        self.last_pass()
        self.closed(closing)

    def last_pass(self) -> None:
        """Make the pass after the last epoch, if one is due and there are data for it."""
        if self.epoch == self.epochs and self.dataset is not None and self.engine.pass_due(self.epochs):
            self._run_pass(self.epochs)

    def _run_pass(self, epoch: int) -> None:
        begun = time.perf_counter()
        forwards, backwards = passes.run(self.step, self.dataset, self.batch_size, self.collate, epoch)
        self.ledger.passed(forwards)
        self.ledger.scoring_backwards += backwards
        self.ledger.seconds["scoring"] += time.perf_counter() - begun
        self.exports.note_final()

    def _warn_unheard(self) -> None:
        """Warn once if a loop ended an epoch without any call that the method needs."""
        engine, position, lacks = self.engine, self.position, "saw no loss, so it selects nothing"
        if (
            position.method_called
            or self._warned_no_calls
            or not (position.from_loader or position.order_read)
        ):
            return
        if not engine.uses_training:
            if engine.narrows:
                lacks = "narrowed no batch, so it selects nothing"
            elif engine.weighted:
                lacks = "chose samples with weights, but they were trained on without their weights"
            elif self.policy.proxy:
                lacks = "did not train its proxy"
            else:
                return
        self._warned_no_calls = True
        warn(
            f"epoch {self.epoch} ended without selector.loss(batch), observe or choose: {self.policy.name} "
            f"{lacks}. Call selector.loss(batch) in every step."
        )

    # ------------------------------------------------------------------------- iterations

    def start_iteration(self) -> int:
        """Open the next epoch, or continue the open one, for an iteration. Return the seed of its workers."""
        engine, position = self.engine, self.position
        if self.epoch >= self.epochs:
            raise ValueError(
                f"training is over: this Selector was built for epochs={self.epochs}. To train longer, give "
                "a larger epochs."
            )
        refuse_several(self.policy)
        self.open(self.epoch)
        if self._skipped and self.policy.signals:
            self._skipped = False
            warn(
                f"training begins at epoch {self.epoch} without a loaded state, so {self.policy.name} has no "
                "scores from the epochs before. Call load_state_dict(...) first."
            )
        filled = self.waiting is not None and position.done
        if self._resumed:
            self._skip, self._resumed = position.done, False
        elif position.from_loader and (position.batches or filled):
            if not self._warned_early and position.batches:  # reading one batch is not training
                self._warned_early = True
                warn(
                    f"the loop over the loader ended early, so epoch {self.epoch} starts again. If the "
                    f"epoch was meant to end there, call selector.set_epoch({self.epoch + 1})."
                )
            position.charge()
            position.reset()
            self._skip = 0
            self.step.forget()
            engine.restart()
            if self.waiting is not None:
                self.waiting.restart()
        self.refuse_empty([self.epoch])
        return seed_of(engine.seed, self.epoch, "workers", collectives.rank())

    def meter(self, batches: Iterator[Any], sharded: bool = True) -> Iterator[Batch]:
        """Pass batches through, time the wait and the work, and close the epoch after the last.

        Args:
            batches: of one epoch.
            sharded: whether our sampler deals the order to the processes. If not, a framework does.
        """
        epoch, position, clock = self.epoch, self.position, self._clock
        asked, aside = time.perf_counter(), clock.aside()
        for batch in batches:
            position.from_loader, position.sharded = True, sharded
            self.step.came()
            clock.begin(asked + clock.aside() - aside)  # a loader that scores has counted that time itself
            yield batch
            position.rows_returned += len(batch.ids)
            clock.end()
            asked, aside = time.perf_counter(), clock.aside()
        if self.epoch == epoch:
            self.end_epoch()

    def end_step(self) -> None:
        """Add the time of the last batch to the ledger, once.

        The loader does it when it is asked for the next one. Frameworks ask late, or never after the last.
        """
        self._clock.end()

    def came_from_plan(self, ids: Int[Tensor, " b"]) -> None:
        """Accept the ids of a loader's batch, which need no check."""
        self.engine.memory.checked_ids = ids

    def draw(self, sharded: bool, resumes: bool = False) -> Ids:
        """The open epoch's ids in training order: all of them, or this rank's equal share."""
        self.open(self.open_or_next)
        self.position.sharded, self.position.order_read = sharded, True
        rank, world = (collectives.rank(), collectives.world()) if sharded else (0, 1)
        done = self._skip if resumes else 0
        return dealt(self.order(), done, rank, world, self.engine.covers(self.epoch))

    def order(self) -> Ids:
        """The open epoch's samples in the order of training: shuffled by (seed, epoch) alone.

        A resumed training makes it again. `deal` gives each rank every world-th id of it.
        """
        return self.position.order()

    # --------------------------------------------------------------------- lengths, progress

    def dealt(self, sharded: bool, drop_last: bool) -> None:
        """Note how a loader or sampler deals the order; refuse epochs that would have no batch."""
        self.position.sharded, self.position.drop_last = sharded, drop_last
        self.engine.refuse_drop_last(drop_last)
        if drop_last and self.batch_size:
            self.refuse_empty(range(self.epoch, self.epochs))

    def samples_of(self, epoch: int, sharded: bool = True) -> tuple[int, bool]:
        """Samples that this rank trains on in `epoch`, and whether the number is exact or an upper bound."""
        if not 0 <= epoch < self.epochs:
            raise ValueError(f"epoch must be in [0, {self.epochs}), got {epoch}.")
        size, exact = self.engine.preview(epoch)
        world = collectives.world() if sharded else 1
        return (-(-size // world) if self.engine.covers(epoch) else size // world), exact

    def steps_of(self, epoch: int) -> int:
        """Number of batches in `epoch`: exact if budget or scores fix it, else an upper bound."""
        if self.batch_size is None:
            raise ValueError("epoch_steps needs a batch size, got None. Give Selector(batch_size=...).")
        sharded = self.position.sharded
        size, _ = self.samples_of(epoch, sharded)
        step = self.batch_size if sharded else self.batch_size * collectives.world()
        steps = size // step if self.position.drop_last else -(-size // step)
        if steps and self.waiting is not None and self.assembles(epoch):
            opened = self.engine.opened and epoch == self.epoch
            carried = len(self.waiting.carried) if opened else self.batch_size - 1
            return max(1, (carried + size) // self.batch_size)
        return steps

    def assembles(self, epoch: int) -> bool:
        """Whether the loader fills the batches of `epoch` with accepted samples."""
        picker = self.policy.at(min(epoch, self.epochs - 1), self.epochs).batch_picker
        return self.waiting is not None and picker is not None and not picker.everything

    def refuse_empty(self, epochs: Iterable[int]) -> None:
        """Raise for epochs that will have no batch for any scores."""
        for epoch in epochs:
            if self.steps_of(epoch):
                continue
            size, exact = self.samples_of(epoch)
            world = collectives.world()
            each = f" on each of {world} processes" if world > 1 else ""
            raise ValueError(
                f"epoch {epoch} has no batch: {'' if exact else 'at most '}{size} samples{each}, batch_size="
                f"{self.batch_size}, drop_last={self.position.drop_last}. Keep more samples, make batches "
                "smaller, or leave drop_last out."
            )

    @property
    def progress(self) -> float:
        """The share of the training that is done, in [0, 1], for any size of the subset."""
        done, engine, position = 0.0, self.engine, self.position
        filled = self.waiting is not None and engine.narrows
        if engine.opened and (filled or position.cut is not None):
            done = min(1.0, position.done / len(engine.last_plan))
        elif engine.opened and position.batches and self.batch_size is not None:
            done = min(1.0, position.batches / max(1, self.steps_of(self.epoch)))
        return (self.epoch + done) / self.epochs

    def where(self) -> dict[str, int]:
        """The epoch, and the number of ids of its order that all processes have trained on."""
        return {"epoch": self.epoch, "done": self.position.done if self.engine.opened else 0}

    # ---------------------------------------------------------------------- other processes

    def agree(self) -> None:
        """Compare settings with the other processes, once. If they differ, training is wrong or hangs."""
        if self.step.runner is not None and self.step.forward is not None:
            get_ready()  # here no clock runs
        if self._agreed or collectives.world() == 1:
            return
        engine, scoring, position = self.engine, self.step.scoring, self.position
        settings = {
            "policy": self.policy,
            "what the policy holds": digest(self.policy),
            "n": engine.n,
            "labels": None if self.exports.labels is None else digest(self.exports.labels),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": engine.seed,
            "sync_every": self.step.sync_every,
            "scoring": (scoring.mode, scoring.dtype, scoring.every, scoring.batch_size),
            "gate": self.step.gate and self.step.gate.shown(),
            "drop_last": position.drop_last,
            "sampler mode": "sharded" if position.sharded else "global",
            "position": self.where(),
            "what was loaded": self._loaded,
            **self.step.scoring_forward.settings(),
        }
        agree(settings, self.dataset if scoring.dataset is None else scoring.dataset)
        self.step.scoring_forward.share()
        self._agreed = True

    def sync(self) -> None:
        """Get what the other processes observed. All processes raise together for bad losses."""
        self.agree()
        self.engine.meet()
        self.engine.merge()

    # ------------------------------------------------------------------------ mask and copies

    def mask(self) -> Tensor:
        """Which samples the open epoch trains on, in shared memory."""
        if self._mask is None:
            self._mask = PlanMask(self.engine.n)
            self._show_plan()
        return self._mask.tensor

    def _show_plan(self) -> None:
        if self._mask is not None and self.engine.opened:
            self._mask.show(self.engine.last_plan)

    def loaded(self, digest: str) -> None:
        """Continue at the position that was loaded.

        Args:
            digest: of what was loaded and must be equal on all processes.
        """
        self._loaded = digest
        self._resumed, self._skip = self.engine.opened, 0
        self._agreed = self._skipped = False
        self._clock.forget()
        self.step.open()
        self._show_plan()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Continue a copy where the original is, as after `load_state_dict`: no loop runs over it yet."""
        vars(self).update(state)
        self._resumed = self._resumed or (self.position.from_loader and self.engine.opened)
        self.position.from_loader = False
        self._clock.forget()
