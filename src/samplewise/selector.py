"""`Selector`: the front door, and the only thing that remembers."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Int
from torch import Tensor, nn

from samplewise import recipes
from samplewise.checks import Range, check_arguments
from samplewise.cost.flops import get_ready
from samplewise.cost.ledger import Ledger
from samplewise.data.dataset import labels_of, length_of
from samplewise.data.outputs import Batch
from samplewise.distributed import collectives
from samplewise.distributed.shares import deal
from samplewise.engine.exports import Exports
from samplewise.engine.own_method import adopt
from samplewise.engine.states import refuse_damaged
from samplewise.loop import passes
from samplewise.loop.again import Steps
from samplewise.loop.arrivals import Arrivals
from samplewise.loop.loader import Loader, PlanSampler, refuse_foreign, refuse_no_batch
from samplewise.loop.requirements import check_forward, check_policy, check_types
from samplewise.loop.scoring import Scoring
from samplewise.loop.step import Chosen, Step
from samplewise.loop.waiting import AssemblingLoader, Waiting, refuse_assembled, refuse_several
from samplewise.policy import Policy
from samplewise.rng import seed_of
from samplewise.training import StepCalls

__all__ = ["Selector"]

Ids = Int[Tensor, " b"]


class Selector(StepCalls):
    """Decides for every sample whether it is worth training on, and keeps the account.

    Args:
        policy: a recipe's name or a `Policy` such as `sw.recipes.ucb(keep=0.3)`.
        dataset: anything map-style with a length; n, for the engine alone; None, for an endless stream.
        forward: batch data -> per-sample losses (b,) or `sw.Outputs`; the user's model and loss.
        model: the module that forward runs; needed as soon as the method scores.
        epochs: the length of the training, which schedules and annealing refer to.
        batch_size: of one process; needed for the loader.
        seed: of every draw.
        labels: class numbers (n,), where the data set does not carry them as `targets`.
        scoring: how scores are computed.
        sync_every: with several processes, take over what the others observed every so many steps, besides
            at the end of each epoch.

    >>> import torch
    >>> selector = Selector("infobatch", 4, epochs=2)
    >>> selector.plan(0).ids
    tensor([0, 1, 2, 3])
    >>> selector.observe(torch.arange(4), torch.tensor([0.1, 0.1, 5.0, 5.0]))
    >>> len(selector.plan(1)), selector.plan(1).weights
    (3, tensor([2., 1., 1.]))
    """

    def __init__(
        self,
        policy: Any,
        dataset: Any,
        forward: Callable[[Any], Any] | None = None,
        *,
        model: nn.Module | None = None,
        epochs: Annotated[int, Range(1)],
        batch_size: Annotated[int | None, Range(1)] = None,
        seed: Annotated[int, Range(0)] = 0,
        labels: Any = None,
        scoring: Scoring | None = None,
        sync_every: Annotated[int | None, Range(1)] = None,
    ) -> None:
        given = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "sync_every": sync_every}
        check_arguments("Selector", Selector.__init__, given)
        epochs, seed = int(epochs), int(seed)  # numpy's numbers are no plain values for a state or a note
        batch_size, sync_every = batch_size and int(batch_size), sync_every and int(sync_every)
        policy = recipes.get(policy)() if isinstance(policy, str) else policy
        self.n = length_of(dataset)
        self.dataset = None if isinstance(dataset, int | np.integer) else dataset
        self.epochs, self.batch_size, self.seed, self.sync_every = epochs, batch_size, seed, sync_every
        if scoring is None:
            scoring = Scoring(mode=(policy.mode if isinstance(policy, Policy) else None) or "eval")
        self.model, self.scoring = model, scoring
        check_types(forward, model, self.scoring, self.n)
        self.labels = passes.quietly(labels_of, labels, self.dataset, self.n)
        self._engine = adopt(policy, self.n, epochs, seed, self.labels)
        self.policy = self._engine.policy
        if isinstance(policy, Policy):
            check_policy(policy, self.n, self.dataset, model, batch_size, self.labels, self.scoring)
            check_forward(policy, forward, self.labels)
        self._ledger = Ledger()
        self._ledger.proxy = self.policy.proxy
        data = self.dataset, scoring.dataset
        self._exports = Exports(self._engine, self._ledger, *data, self.labels, model)
        self._check_given()
        self._step = Step(self.policy, forward, model, self.scoring)
        if forward is not None and (self._engine.computes or self.policy.proxy):
            get_ready()
        self._drop_last, self._sharded = False, True
        self.waiting = Waiting() if self.policy.assemble else None
        if self.dataset is None:
            refuse_assembled(self.policy, "the engine alone, Selector(policy, n)")
        self.collate: Callable[[list[Any]], Any] | None = None
        self._batches = self._samples = self._done = self._skip = 0
        self._started = self._resumed = self._warned = self._heard = self._told = self._agreed = (
            self._skipped
        ) = False
        self._arrivals, self._steps = Arrivals(), Steps()
        self._first_narrowed: int | None = None
        self._chosen: Chosen | None = None
        self._timed: tuple[float, float, float, int, bool] | None = None
        self._mask: Tensor | None = None

    @property
    def forward(self) -> Callable[[Any], Any] | None:
        """Batch data -> per-sample losses or `Outputs`; may be replaced, as by one under autocast."""
        return self._step.forward

    @forward.setter
    def forward(self, forward: Callable[[Any], Any] | None) -> None:
        check_forward(self.policy, forward, self.labels)
        self._step.forward = forward

    def _check_given(self) -> None:
        """What was chosen or computed before must be of these data; what that cost is charged."""
        for part in (self.policy.picker, self.policy.tracker):
            if part is not None:
                part.check_fits(self.n, self._exports.fingerprint)
                self._charge(part.provenance)

    def _charge(self, provenance: Mapping[str, Any]) -> None:
        if scoring := provenance.get("scoring"):
            self._ledger.scored(scoring["cost"] / collectives.world(), scoring["seconds"])

    # ------------------------------------------------------------------------------ front door

    def loader(self, **arguments: Any) -> Loader:
        """A torch DataLoader over the plan of each epoch, yielding `Batch(ids, data)`.

        Takes DataLoader's own arguments: `num_workers`, `pin_memory`, `collate_fn`, `drop_last`,
        `persistent_workers`, ... With a process group up each rank gets an equal share.
        """
        refuse_foreign(arguments)
        if self.dataset is None:
            raise ValueError("this Selector was built with n, not with a data set: nothing to load.")
        if self.batch_size is None:
            raise ValueError("the loader needs a batch size: Selector(..., batch_size=128).")
        self._drop_last, self._sharded = bool(arguments.get("drop_last", False)), True
        self._engine.refuse_drop_last(self._drop_last)
        self.collate = arguments.get("collate_fn")
        refuse_several(self.policy)
        if self._drop_last:
            refuse_no_batch(self, range(self.epoch, self.epochs), True)
        kind = Loader if self.waiting is None else AssemblingLoader
        return kind(self, self.dataset, self.batch_size, arguments)

    def sampler(
        self,
        mode: Literal["global", "sharded"] = "global",
        *,
        resumes: bool = False,
        drop_last: bool = False,
    ) -> PlanSampler:
        """The plan as a torch Sampler.

        Args:
            mode: `global`, equal on every rank, for frameworks that shard it themselves by dealing whole
                batches in turns; `sharded`: this rank's equal share.
            resumes: its first iteration after `load_state_dict` gives the remaining ids only; False for
                frameworks that skip batches themselves.
            drop_last: whether the loader that takes it drops a last batch that is not full.
        """
        refuse_assembled(self.policy, "selector.sampler, nor with a framework's adapter")
        if mode not in ("global", "sharded"):
            raise ValueError(f"mode must be one of 'global', 'sharded', got {mode!r}.")
        self._drop_last, self._sharded = drop_last, mode == "sharded"
        self._engine.refuse_drop_last(drop_last)
        if drop_last and self.batch_size:
            refuse_no_batch(self, range(self.epoch, self.epochs), True)
        return PlanSampler(self, mode == "sharded", resumes)

    # ---------------------------------------------------------------------------------- epochs

    @property
    def open_or_next(self) -> int:
        """`epoch`, but the last one when training is over: what lengths refer to."""
        return min(self._engine.epoch, self.epochs - 1)

    def set_epoch(self, epoch: int) -> None:
        """Close the epoch before and open this one; again the same changes nothing.

        `set_epoch(epochs)` closes the last one: a loop without our loader ends with it.
        """
        engine = self._engine
        if epoch != self.epochs:
            self._skipped |= epoch > 0 and not (engine.opened or engine.epoch or self._heard)
            self._open(epoch)
        elif self.epoch < epoch:
            self._close()
            self._engine.skip_to(epoch)
            self._last_pass()

    def start_iteration(self) -> int:
        """Called by the loader's `iter`: open the epoch that is next; returns the seed of its workers."""
        if self.epoch >= self.epochs:
            raise ValueError(f"training is over: this Selector was built for epochs={self.epochs}.")
        refuse_several(self.policy)
        self._open(self.epoch)
        if self._skipped and self.policy.signals:
            self._skipped = False
            warnings.warn(
                f"training begins at epoch {self.epoch} without a loaded state, so {self.policy.name} knows "
                "nothing of the epochs before: call load_state_dict(...) first.",
                stacklevel=3,
            )
        if self._resumed:
            self._skip, self._resumed = self._done, False
        elif self._started and (self._batches or (self.waiting is not None and self._done)):
            if not self._warned and self._batches:  # a look at one batch is no training
                warnings.warn(
                    f"the loop over the loader ended early, so epoch {self.epoch} starts again. If the "
                    f"epoch was meant to end there, call selector.set_epoch({self.epoch + 1}).",
                    stacklevel=3,
                )
                self._warned = True
            self._settle()
            self._batches = self._samples = self._done = self._skip = 0
            self._chosen = None
            self._arrivals.open()
            self._steps.forget()
            self._engine.restart()
            if self.waiting is not None:
                self.waiting.restart()
        refuse_no_batch(self, [self.epoch], self._drop_last)
        return seed_of(self.seed, self.epoch, "workers", collectives.rank())

    def meter(self, batches: Iterator[Any], sharded: bool = True) -> Iterator[Batch]:
        """Pass batches through, timing the wait and the work, and close the epoch after the last.

        `sharded` as `sampler` has it: who deals the order among processes.
        """
        epoch, asked, aside = self.epoch, time.perf_counter(), self._aside()
        for batch in batches:
            self._started, self._sharded = True, sharded
            self._steps.came()
            # A loader that scores enters that time itself.
            self._begin_step(asked + self._aside() - aside)
            yield batch
            self._arrivals.gone += len(batch.ids)
            self.end_step()
            asked, aside = time.perf_counter(), self._aside()
        if self.epoch == epoch:
            self.end_epoch()

    def _begin_step(self, asked: float) -> None:
        """A batch that was asked for at a time has come."""
        got, seconds = time.perf_counter(), self._ledger.seconds
        seconds["data"] += got - asked
        self._timed = got, got - asked, self._aside(), self._came, self._engine.narrows

    def _aside(self) -> float:
        """Seconds of scoring and selecting so far."""
        return self._ledger.seconds["scoring"] + self._ledger.seconds["selecting"]

    def end_step(self) -> None:
        """Enter the time of the batch that was handed out last, once.

        The loader does it when it is asked for the next; frameworks ask late, or never after the last.
        """
        if self._timed is None:
            return
        (got, waited, aside, samples, narrowed), self._timed = self._timed, None
        ledger, seconds = self._ledger, self._ledger.seconds
        work = time.perf_counter() - got - (self._aside() - aside)
        seconds["training"] += work
        if not narrowed and not ledger.proxy:  # ordinary training has no proxy
            ledger.plain_seconds += waited + work
            ledger.plain_samples += self._came - samples

    def end_epoch(self) -> None:
        """Close the open epoch, as the loader does after its last batch; no other is opened."""
        if not self._engine.opened:
            return
        self._close()

    def draw(self, sharded: bool, resumes: bool = False) -> Int[Tensor, " k"]:
        """The open epoch's ids in training order: all of them, or this rank's equal share."""
        self._open(self.open_or_next)
        self._sharded, self._arrivals.drawn = sharded, True
        rank, world = (collectives.rank(), collectives.world()) if sharded else (0, 1)
        done = self._skip if resumes else 0
        return deal(self._engine.order(), done, rank, world, self._engine.covers(self.epoch))

    def samples_of(self, epoch: int, sharded: bool = True) -> tuple[int, bool]:
        """How many samples this rank trains on in `epoch`, and whether that is certain."""
        if not 0 <= epoch < self.epochs:
            raise ValueError(f"epoch must be in [0, {self.epochs}), got {epoch}.")
        size, exact = self._engine.preview(epoch)
        world = collectives.world() if sharded else 1
        return (-(-size // world) if self._engine.covers(epoch) else size // world), exact

    def epoch_steps(self, epoch: int) -> int:
        """Batches in `epoch`: exact where budget or scores fix it, else an upper bound until it begins."""
        if self.batch_size is None:
            raise ValueError("epoch_steps needs Selector(batch_size=...).")
        size, _ = self.samples_of(epoch, self._sharded)
        step = self.batch_size if self._sharded else self.batch_size * collectives.world()
        steps = size // step if self._drop_last else -(-size // step)
        if steps and self.waiting is not None and self.assembles(epoch):
            opened = self._engine.opened and epoch == self.epoch
            carried = len(self.waiting.carried) if opened else self.batch_size - 1
            return max(1, (carried + size) // self.batch_size)
        return steps

    @property
    def progress(self) -> float:
        """The share of the training done, in [0, 1], whatever the subset does: for LR schedules."""
        done = 0.0
        if self.waiting is not None and self._engine.opened and self._engine.narrows:
            done = min(1.0, self._done / len(self._engine.last_plan))
        elif self._engine.opened and self._batches and self.batch_size is not None:
            done = min(1.0, self._batches / max(1, self.epoch_steps(self.epoch)))
        return (self.epoch + done) / self.epochs

    def position(self) -> dict[str, int]:
        """The epoch, and how many ids of its order all processes have trained on."""
        return {"epoch": self.epoch, "done": self._done if self._engine.opened else 0}

    # ------------------------------------------------------------------------ account and state

    @property
    def ledger(self) -> Ledger:
        """What was spent and saved so far."""
        self._settle()
        return self._ledger

    def state_dict(self) -> dict[str, Any]:
        """Memory, plan and position at any step, as `torch.load(weights_only=True)` reads it.

        Raises:
            ValueError: with several processes, if this one holds what the others have not taken over.
        """
        if not self._engine.merged:
            raise ValueError(
                "the other processes have not taken over what this one observed: call selector.sync() on "
                "every process before state_dict()."
            )
        return self._state()

    def _state(self) -> dict[str, Any]:
        self._ledger.assistant_flops += self._engine.spent()
        waiting = {} if self.waiting is None else {"waiting": self.waiting.state_dict()}
        return waiting | {
            "policy": repr(self.policy),
            "n": self.n,
            "seed": self.seed,
            "world": collectives.world(),
            "done": self._done,
            "drop_last": self._drop_last,
            "batches": self._batches,
            "samples": self._samples,
            "arrivals": self._arrivals.state_dict(),
            "first_narrowed": self._first_narrowed,
            "scored": self._exports.state_dict(),
            "engine": self._engine.state_dict(),
            "ledger": self._ledger.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; the next iteration yields the remaining batches."""
        refuse_damaged(state, self._state(), self.policy, self.epochs)
        self._engine.load_state_dict(state["engine"])
        self._ledger.load_state_dict(state["ledger"])
        self._batches, self._samples, self._done = state["batches"], state["samples"], state["done"]
        self._first_narrowed, self._drop_last = state["first_narrowed"], state["drop_last"]
        self._arrivals.load_state_dict(state["arrivals"])
        if (world := collectives.world()) != state["world"]:
            self._ledger.rescale(state["world"] / world)
            self._arrivals.rescale(state["world"] / world)
            self._samples = self._done // world
        self._note_loaded(state["engine"])
        if self.batch_size is not None:  # which may be another one than before
            self._batches = -(-self._samples // self.batch_size)
        self._exports.load_state_dict(state["scored"])
        if self.waiting is not None:
            self.waiting.load_state_dict(state["waiting"])
        self._started, self._resumed, self._skip = False, self._engine.opened, 0
        self._chosen, self._heard, self._agreed, self._skipped = None, True, False, False
        self._steps.forget()
        self._show_plan()
