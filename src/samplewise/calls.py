"""`EngineCalls`: what loops of any shape call - observe, plan, choose - and what comes out as tables."""

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

from jaxtyping import Float, Int, Integer, Shaped
from torch import Tensor, nn

from samplewise.coresets.table import ScoreTable, Subset
from samplewise.cost.ledger import Ledger
from samplewise.data.ids import whole
from samplewise.data.outputs import Outputs, as_outputs, check_shapes
from samplewise.distributed import collectives
from samplewise.distributed.shares import rows_of
from samplewise.engine.engine import Engine
from samplewise.engine.exports import Exports
from samplewise.loop import passes
from samplewise.loop.again import Steps
from samplewise.loop.agreement import agree, digest
from samplewise.loop.arrivals import Arrivals
from samplewise.loop.scoring import Scoring
from samplewise.loop.waiting import Waiting, refuse_assembled
from samplewise.policy import Policy, Weighting

__all__ = ["EngineCalls"]

Ids = Integer[Tensor, " b"]


class EngineCalls(ABC):
    """The half of a `Selector` that needs no loader. It is not built by itself."""

    n: int
    dataset: Any
    model: nn.Module | None
    batch_size: int | None
    collate: Callable[[list[Any]], Any] | None
    scoring: Scoring
    policy: Policy
    labels: Tensor | None
    epochs: int
    seed: int
    sync_every: int | None
    waiting: Waiting | None
    """Accepted samples that wait for a full batch, where the loader fills batches."""
    _engine: Engine
    _ledger: Ledger
    _heard: bool
    """Whether the loop ever called what acts on a batch: loss, narrow, observe or choose."""
    _told: bool
    """Whether it was told that it never did."""
    _agreed: bool
    _loaded: str | None = None
    """What was loaded of a state that all processes must have alike, as a digest."""
    _drop_last: bool
    _sharded: bool
    _started: bool
    _resumed: bool
    _batches: int
    _samples: int
    _arrivals: Arrivals
    _steps: Steps
    _done: int
    _timed: tuple[float, float, float, int, bool] | None
    _skip: int
    _first_narrowed: int | None
    _exports: Exports

    def pass_due(self, epoch: int) -> bool:
        """Whether a pass is wanted before `epoch`: see `pass_ids`."""
        return self._engine.pass_due(epoch)

    def pass_ids(self, epoch: int) -> Ids:
        """The ids to be observed with source="pass" before `plan(epoch)`."""
        return self._engine.pass_ids(epoch)

    def observe(
        self, ids: Ids, outputs: Outputs | Tensor, source: Literal["training", "pass"] = "training"
    ) -> None:
        """Remember what a forward pass showed: `outputs` (or losses) of the samples `ids`.

        An id twice in one call counts once. Sources that the method does not use are counted in the
        ledger and otherwise ignored.
        """
        refuse_assembled(self.policy, "selector.observe")
        if source not in ("training", "pass"):
            raise ValueError(f"source must be one of 'training', 'pass', got {source!r}.")
        ids = whole(ids, "observe")
        seen = as_outputs(outputs, len(ids))
        if self.policy.signals and type(outputs) is not Tensor and self._engine.uses(source):
            check_shapes(seen, self.policy.reads)
        self._heard = True
        used = self._engine.memory.observe(ids, seen, source)
        if not used and self.policy.signals:
            self._ledger.ignored_observations += len(ids)
        if source == "pass":
            self._scored_by_pass(len(ids))
        elif self.dataset is None and self._engine.narrows and self._engine.scores_batches and used:
            self._ledger.scoring_forwards += len(ids)

    def look(self, ids: Ids, data: Any) -> None:
        """Show a method that chooses by a batch's data what it is, before `choose`; others ignore it."""
        refuse_assembled(self.policy, "selector.look")
        self._engine.look(whole(ids, "look"), data)

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        """The rows of this batch to train on, ascending, and their weights (None: all 1).

        Call it after `observe` of the same ids. All rows outside the method's active window.
        """
        refuse_assembled(self.policy, "selector.choose")
        rows, weights = self._engine.choose(whole(ids, "choose"))
        self._heard = True
        self._samples += len(ids)
        if self._engine.narrows:
            self._ledger.trained(len(rows))
        return rows, weights

    def plan(self, epoch: int) -> Subset:
        """Open `epoch`: its samples, equal on every rank, and their weights (None: all 1)."""
        engine = self._engine
        self._agree()
        if not (engine.opened and epoch == engine.epoch):
            if engine.opened and epoch > engine.epoch:
                self._close()
            engine.plan(epoch)
            self._batches = self._samples = self._done = self._skip = 0
            self._started = self._resumed = False
            self._arrivals.open()
            self._steps.forget()
            self._timed = None
            if self.waiting is not None:
                self.waiting.open()
            self._show_plan()
            if engine.narrows and self._first_narrowed is None:
                self._first_narrowed = epoch
        return engine.last_plan

    def score(self, column: str | None = None) -> Shaped[Tensor, " n"]:
        """What the finest picker ranks by, or another column by name; NaN where never observed."""
        return self._engine.score(column).clone()

    def lr_factor(self, epoch: int) -> float:
        """Multiply your learning rate by this: KAKURENBO's 1 / share that trains; 1 for other methods."""
        if self.policy.lr == "actual":
            self._open(epoch)
        return self._engine.lr_factor(epoch)

    @property
    def epoch(self) -> int:
        """The epoch being trained, or the next to be."""
        return self._engine.epoch

    def _open(self, epoch: int) -> None:
        """The due pass first, then the plan."""
        self._agree()
        if self._engine.opened and epoch == self.epoch:
            return
        if self._engine.opened and epoch > self.epoch:
            self._close()
        if self.pass_due(epoch):
            self._run_pass(epoch)
        begun = time.perf_counter()
        self.plan(epoch)
        self._ledger.seconds["selecting"] += time.perf_counter() - begun

    def _agree(self) -> None:
        """Compare with the other processes, once: differences would train wrong samples, or hang."""
        if self._agreed or collectives.world() == 1:
            return
        scoring = self.scoring
        settings = {
            "policy": self.policy,
            "what the policy holds": digest(self.policy),
            "n": self.n,
            "labels": None if self.labels is None else digest(self.labels),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "sync_every": self.sync_every,
            "scoring": (scoring.mode, scoring.dtype, scoring.every, scoring.batch_size),
            "drop_last": self._drop_last,
            "sampler mode": "sharded" if self._sharded else "global",
            "position": self.position(),
            "what was loaded": self._loaded,
        }
        agree(settings, self.dataset if scoring.dataset is None else scoring.dataset)
        self._agreed = True

    def _note_loaded(self, engine: Mapping[str, Any]) -> None:
        """Keep for the comparison what an engine's state gives: scores, and the plan that is open."""
        self._loaded = digest([engine[name] for name in ("memory", "ids", "weights")])

    def _close(self) -> None:
        """Close the open epoch; after the last one the pass that is still due follows."""
        self.refuse_unweighed()
        self._warn_unheard()
        self._settle(closing=True)
        begun = time.perf_counter()
        self._engine.close()
        if self.policy.level == "static":  # which measures then what it only copied before
            self._ledger.seconds["selecting"] += time.perf_counter() - begun
        self._exports.note_final()
        self._last_pass()

    def _last_pass(self) -> None:
        """The pass after the last epoch, if one is wanted and there are data and a model for it."""
        if self.epoch == self.epochs and self.dataset is not None and self.pass_due(self.epochs):
            self._run_pass(self.epochs)

    def _run_pass(self, epoch: int) -> None:
        begun = time.perf_counter()
        forwards, backwards = passes.run(self, self._engine, epoch)
        self._scored_by_pass(forwards)
        self._ledger.scoring_backwards += backwards
        self._ledger.seconds["scoring"] += time.perf_counter() - begun
        self._exports.note_final()

    def _scored_by_pass(self, forwards: int) -> None:
        if self.policy.proxy:
            self._ledger.proxy_scoring_forwards += forwards
        else:
            self._ledger.scoring_forwards += forwards

    @property
    @abstractmethod
    def forward(self) -> Callable[[Any], Any] | None:
        """Batch data -> per-sample losses or `Outputs`."""

    @abstractmethod
    def position(self) -> dict[str, int]:
        """The epoch, and how many ids of its order all processes have trained on."""

    @abstractmethod
    def refuse_unweighed(self) -> None:
        """Raise if a step was begun whose losses the method still needs."""

    @abstractmethod
    def _show_plan(self) -> None:
        """Let workers see the plan that was just made."""

    @property
    def _came(self) -> int:
        """Rows of the open epoch that came to this process: to its steps, or to a loop that makes none."""
        return self._samples or self._arrivals.gone

    def _warn_unheard(self) -> None:
        """Say once that the loop never called what the method acts through, if it has ended an epoch."""
        engine, said = self._engine, "saw nothing, so it selects nothing"
        if self._heard or self._told or not (self._started or self._arrivals.drawn):
            return
        if not engine.uses("training"):
            if engine.narrows:
                said = "narrowed no batch, so it selects nothing"
            elif engine.last_plan.weights is not None:
                said = "chose samples, but they were trained on without their weights"
            elif self.policy.proxy:
                said = "did not train its proxy"
            else:
                return
        self._told = True
        warnings.warn(
            f"epoch {self.epoch} ended without selector.loss(batch), observe or choose: {self.policy.name} "
            f"{said}.",
            stacklevel=4,
        )

    def _rows_of(self, size: int) -> int:
        """Rows that this process trains on, of an epoch of so many samples dealt as the open one."""
        world, how = collectives.world(), (self._sharded, self._engine.covers(self.epoch), self._drop_last)
        return rows_of(size, self.batch_size or max(1, size // world), collectives.rank(), world, *how)

    def _ordinary(self, rows: int) -> float:
        """The rows of ordinary training's epoch for so many of the open epoch's; all of them for all."""
        if not self.n:
            return rows
        planned = self._rows_of(len(self._engine.last_plan))
        return self._rows_of(self.n) * (rows / planned) if planned else 0.0

    def _settle(self, closing: bool = False) -> None:
        """Enter the open epoch's samples into the ledger: from the plan or what came, never step by step."""
        ledger, engine, arrivals = self._ledger, self._engine, self._arrivals
        ledger.assistant_flops += engine.spent()
        if not engine.opened:
            return
        rows = came = self._came
        if closing and not came and (self.dataset is None or arrivals.drawn) and not engine.narrows:
            rows = came = self._rows_of(len(engine.last_plan))  # the loop is somebody else's
        if self.waiting is not None and engine.narrows:
            came = self._done
        # A batch that is narrowed is entered by its step; a loop without steps trains on all of it.
        arrivals.enter_trained(ledger, 0 if engine.narrows and self._samples else rows)
        arrivals.enter_ordinary(ledger, self._ordinary(came), closing)

    def table(self) -> ScoreTable:
        """One row a sample: every score, how often it was selected, its label, and where they come from."""
        self._last_pass()
        self._exports.note_final()
        return self._exports.table()

    def subset(
        self,
        method: str | None = None,
        *,
        keep: float | None = None,
        balance: bool | None = None,
        weights: Weighting | None = None,
        normalize: Literal["mean1"] | None = None,
    ) -> Subset:
        """The coreset of a static method, once its score is final.

        Args:
            method: which one, of a `Recorder`.
            keep: the share kept; None: the method's own.
            balance: choose inside each class; None: as the method says.
            weights: importance weights, the score min-max over all n: each for its own sample, or the
                batch's mean weight for the batch's mean loss; None: the method's own.
            normalize: "mean1" divides the weights by their mean over the subset.

        Raises:
            ValueError: before the score is final, naming the epochs or the pass that are missing.
        """
        self._exports.static()
        self._last_pass()
        self._exports.note_final()
        return self._exports.subset(method, keep=keep, balance=balance, weights=weights, normalize=normalize)

    @property
    def final(self) -> dict[str, int]:
        """For static methods by name: the epoch before which the score is final."""
        return self._exports.static().final

    def provenance(self) -> dict[str, Any]:
        """What produced a table or a subset."""
        return self._exports.provenance()
