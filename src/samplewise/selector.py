"""`Selector`: the object that users call. It holds the parts of one training and delegates to them."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, overload

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped
from torch import Tensor, nn

from samplewise.checks import Range, check_arguments, epoch_number
from samplewise.coresets.table import ScoreTable
from samplewise.cost.ledger import Ledger
from samplewise.data.dataset import labels_of, length_of
from samplewise.data.layout import Layout
from samplewise.data.outputs import Batch, Outputs, T
from samplewise.data.randomness import quietly
from samplewise.engine.exports import Exports
from samplewise.engine.own_method import adopt
from samplewise.groups import method_of
from samplewise.loop import forwards, gating, requirements
from samplewise.loop.direct import Direct
from samplewise.loop.epochs import Timeline
from samplewise.loop.gate import Gate
from samplewise.loop.loader import AssemblingLoader, Loader, PlanSampler, refuse_arguments
from samplewise.loop.position import Position
from samplewise.loop.saving import continue_from, duplicate, saved_state
from samplewise.loop.scoring import Scoring
from samplewise.loop.step import Step
from samplewise.loop.waiting import Waiting
from samplewise.policy import Policy, Weighting
from samplewise.subset import Subset

__all__ = ["Selector"]

Ids = Integer[Tensor, " b"]


class Selector(Generic[T]):
    """Decides which samples to train on, and counts in a ledger what this saves.

    Args:
        policy: a recipe's name or a `Policy` such as `sw.recipes.ucb(keep=0.3)`.
        dataset: a map-style data set with a length; n, for the engine alone; None, for an endless stream.
        forward: batch data -> per-sample losses (b,) or `sw.Outputs`; the user's model and loss.
        model: the module that forward runs; needed if the method scores.
        epochs: the length of the training, which schedules and annealing refer to.
        batch_size: of one process; needed for the loader.
        seed: of every draw.
        labels: class numbers (n,), if the data set does not carry them as `targets`.
        groups: the group of every sample (n,), such as its domain, or `sw.Groups` with shares for them.
        scoring: how scores are computed.
        sync_every: steps after which several processes exchange observations, besides the end of an epoch.
        history: keep which samples each selection takes, for `table().history`; not for the batch level.
        gate: end selection, or make scoring cheaper, if selection costs more time than it saves.
        compact: plans of few bits a sample, in another order; None: from 2^25 samples on.

    Attributes:
        engine: the method at work over n samples, without model and loader.
        timeline: opens and closes the epochs. Loaders and the adapters of frameworks talk to it.

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
        forward: Callable[[T], Any] | None = None,
        *,
        model: nn.Module | None = None,
        epochs: Annotated[int, Range(1)],
        batch_size: Annotated[int | None, Range(1)] = None,
        seed: Annotated[int, Range(0)] = 0,
        labels: Any = None,
        groups: Any = None,
        scoring: Scoring | None = None,
        sync_every: Annotated[int | None, Range(1)] = None,
        history: bool = False,
        gate: bool | Gate = False,
        compact: bool | None = None,
    ) -> None:
        given = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "sync_every": sync_every}
        check_arguments("Selector", Selector.__init__, given | {"history": history, "compact": compact})
        epochs, seed = int(epochs), int(seed)  # a state cannot hold numbers of numpy
        batch_size, sync_every = batch_size and int(batch_size), sync_every and int(sync_every)
        self.n, self.model = length_of(dataset), model
        self.dataset = None if isinstance(dataset, int | np.integer) else dataset
        policy = method_of(policy, groups, self.n, self.dataset)
        own = policy if isinstance(policy, Policy) else None
        self.epochs, self.batch_size, self.seed, self.sync_every = epochs, batch_size, seed, sync_every
        scoring = Scoring(mode=(own and own.mode) or "eval") if scoring is None else scoring
        requirements.check_types(forward, model, scoring, self.n)
        self.labels = labels = quietly(labels_of, labels, self.dataset, self.n)
        self.engine = engine = adopt(policy, self.n, epochs, seed, labels, history, compact)
        self.policy = engine.policy
        if own is not None:
            requirements.check_policy(own, self.n, self.dataset, model, batch_size, labels, scoring, forward)
        self._ledger = ledger = Ledger(self.policy.proxy)
        self._exports = Exports(engine, ledger, self.dataset, scoring.dataset, self.labels, model)
        requirements.charge_prior(self.policy, self.n, self._exports.fingerprint, ledger)
        position = Position(engine, ledger, self.dataset is not None, batch_size)
        waiting = Waiting() if self.policy.assemble else None
        self._step = Step(engine, ledger, position, forward, model, scoring, sync_every, waiting)
        self._direct = Direct(engine, ledger, position, scoring)
        forwards.install(self._step, engine, ledger, self._exports)
        self._step.gate = gating.gate_for(gate, self._step)
        self.timeline = Timeline(engine, ledger, self._exports, position, self._step, self.dataset)

    # --------------------------------------------------------------------- loaders and epochs

    def loader(self, **arguments: Any) -> Loader[T]:
        """A torch DataLoader over the plan of each epoch, yielding `Batch(ids, data)`.

        Takes DataLoader's own arguments (`num_workers`, `collate_fn`, ...). Each rank gets an equal share.
        """
        refuse_arguments(arguments)
        requirements.check_loader(self.policy, self.dataset, self.batch_size)
        self.timeline.collate = arguments.get("collate_fn")
        self.timeline.dealt(True, bool(arguments.get("drop_last", False)))
        return (AssemblingLoader if self.policy.assemble else Loader)(self.timeline, arguments)

    def sampler(
        self,
        mode: Literal["global", "sharded"] = "global",
        *,
        resumes: bool = False,
        drop_last: bool = False,
    ) -> PlanSampler:
        """The plan as a torch Sampler.

        Args:
            mode: "global", equal on every rank, for frameworks that deal batches to the ranks in turns;
                "sharded", this rank's equal share.
            resumes: whether its first iteration after `load_state_dict` gives the remaining ids only.
            drop_last: whether the loader that takes it drops a last batch that is not full.
        """
        requirements.refuse_assembled(self.policy, "selector.sampler, nor with a framework's adapter")
        if mode not in ("global", "sharded"):
            raise ValueError(f"mode must be one of 'global', 'sharded', got {mode!r}.")
        self.timeline.dealt(mode == "sharded", drop_last)
        return PlanSampler(self.timeline, mode == "sharded", resumes)

    @property
    def epoch(self) -> int:
        """The open epoch, or the next one if none is open."""
        return self.engine.epoch

    def set_epoch(self, epoch: int) -> None:
        """Close the epoch before and open this one. The same epoch again changes nothing.

        `set_epoch(epochs)` closes the last one: a loop without our loader ends with it.
        """
        self.timeline.set_epoch(epoch_number(epoch))

    def epoch_steps(self, epoch: int) -> int:
        """Batches in `epoch`: exact if budget or scores fix it, else an upper bound until it begins."""
        return self.timeline.steps_of(epoch_number(epoch))

    @property
    def progress(self) -> float:
        """The share of the training that is done, in [0, 1], for any size of the subset. For LR schedules."""
        return self.timeline.progress

    def lr_factor(self, epoch: int) -> float:
        """Multiply your learning rate by this: KAKURENBO's 1 / share that trains; 1 for other methods."""
        epoch = epoch_number(epoch)
        if self.policy.lr == "actual":
            self.timeline.open(epoch)
        return self.engine.lr_factor(epoch)

    def mask(self) -> Bool[Tensor, " n"]:
        """Which samples the open epoch trains on, in shared memory; all True until the first plan.

        Every later plan is written into the same tensor, so that workers can drop samples before decoding.
        """
        return self.timeline.mask()

    # ------------------------------------------------------------------------------- one step

    @overload
    def loss(self, batch: Batch[T], return_outputs: Literal[False] = False) -> Tensor: ...
    @overload
    def loss(self, batch: Batch[T], return_outputs: Literal[True]) -> tuple[Tensor, Outputs]: ...
    @overload
    def loss(self, batch: Batch[T], return_outputs: bool) -> Tensor | tuple[Tensor, Outputs]: ...

    def loss(self, batch: Batch[T], return_outputs: bool = False) -> Tensor | tuple[Tensor, Outputs]:
        """The loss to back-propagate: scores, narrows, observes and weights as the method says.

        It is `(weights * losses).mean()` over the trained rows, in float32; with a proxy plus that of it.

        Args:
            batch: as the loader yields it, moved to where the model is.
            return_outputs: also return the training forward's `Outputs`.
        """
        loss, outputs = self._step.loss(batch)
        return (loss, outputs) if return_outputs else loss

    def narrow(self, batch: Batch[T]) -> Batch[T]:
        """The rows of a batch to train on, for loops that run the forward themselves.

        At batch level inside the active window it scores, observes and chooses; else the batch passes
        as it is. Then give the losses of these rows to `reduce` or `weigh`.

        Raises:
            RuntimeError: if the losses of the previous batch were needed and not given.
        """
        requirements.refuse_assembled(self.policy, "selector.narrow")
        requirements.refuse_proxy(self.policy, "selector.narrow")
        narrowed = self._step.narrow(batch)
        if self._step.runner is not None:
            self._step.runner.expect(self.model, len(narrowed.ids))
        return narrowed

    def reduce(self, outputs: Outputs | Tensor) -> Float[Tensor, ""]:
        """The loss to back-propagate of the rows that `narrow` gave.

        It observes them if they were not scored, and is `(weights * losses).mean()` in float32.

        Args:
            outputs: per-sample losses (k,) with graph, or `Outputs`.
        """
        requirements.refuse_assembled(self.policy, "selector.reduce")
        return self._step.reduced(self._step.checked(outputs, len(self._step.awaited().ids)))

    def weigh(self, outputs: Outputs | Tensor) -> Float[Tensor, " k"]:
        """The factor of each row that `narrow` gave, for losses reduced in another way, as by tokens.

        `reduce` gives `(factors * losses).mean()`. It observes rows that were not scored.

        Args:
            outputs: per-sample losses (k,), or `Outputs`.
        """
        requirements.refuse_assembled(self.policy, "selector.weigh")
        return self._step.weigh(outputs)

    @property
    def awaits_losses(self) -> bool:
        """Whether the method still needs the losses of the rows that `narrow` gave last."""
        return self._step.awaits_losses

    @property
    def forward(self) -> Callable[[T], Any] | None:
        """Batch data -> per-sample losses or `Outputs`. You may replace it, such as to use autocast."""
        return self._step.forward

    @forward.setter
    def forward(self, forward: Callable[[T], Any] | None) -> None:
        requirements.check_forward(self.policy, forward, self.labels)
        self._step.forward = forward

    @property
    def scoring(self) -> Scoring:
        """How scores are computed now; a gate may have changed it."""
        return self._step.scoring

    @property
    def layout(self) -> Layout:
        """Which parts of a batch hold one item a row; a stream sets its own."""
        return self._step.layout

    @layout.setter
    def layout(self, layout: Layout) -> None:
        self._step.layout = layout

    # ----------------------------------------------------------------------- the engine alone

    def pass_due(self, epoch: int) -> bool:
        """Whether a pass is needed before `epoch`: see `pass_ids`."""
        return self.engine.pass_due(epoch_number(epoch))

    def pass_ids(self, epoch: int) -> Ids:
        """The ids to be observed with source="pass" before `plan(epoch)`."""
        return self.engine.pass_ids(epoch_number(epoch))

    def plan(self, epoch: int) -> Subset:
        """Open `epoch`: its samples, equal on every rank, and their weights (None: all 1)."""
        return self.timeline.plan(epoch_number(epoch))

    def observe(
        self, ids: Ids, outputs: Outputs | Tensor, source: Literal["training", "pass"] = "training"
    ) -> None:
        """Remember the results of a forward: `outputs` (or losses) of the samples `ids`.

        An id twice in one call counts once. If the method does not use the source, only the ledger counts it.
        """
        self._direct.observe(ids, outputs, source)

    def look(self, ids: Ids, data: Any) -> None:
        """Give a method the data of a batch before `choose`, if it chooses by data; others ignore it."""
        self._direct.look(ids, data)

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        """The rows of this batch to train on, ascending, and their weights (None: all 1).

        Call it after `observe` of the same ids. All rows outside the method's active window.
        """
        return self._direct.choose(ids)

    def score(self, column: str | None = None) -> Shaped[Tensor, " n"]:
        """A column by name. Without a name: what the batch picker, or else the picker, ranks by."""
        return self.engine.score(column).clone()

    def sync(self) -> None:
        """Get what the other processes observed. All processes raise for losses that are not finite.

        Every process calls it at the same step: before `state_dict()`, or to read all scores inside an epoch.
        The end of an epoch does the same. One process alone does nothing.
        """
        self.timeline.sync()

    # -------------------------------------------------------------------------------- exports

    def table(self) -> ScoreTable:
        """One row for each sample: scores, number of selections, label. With the origin of all of them."""
        self.timeline.last_pass()
        self._exports.note_final()
        return self._exports.table()

    def subset(
        self,
        method: str | None = None,
        *,
        keep: float | None = None,
        balance: bool | None = None,
        weights: Weighting | Literal["raw"] | None = None,
        normalize: Literal["mean1"] | None = None,
    ) -> Subset:
        """The coreset of a static method, once its score is final.

        Args:
            method: which one, of a `Recorder`.
            keep: the share kept; None: the method's own.
            balance: choose inside each class; None: as the method says.
            weights: importance weights, the score min-max over all n (or `raw`): each for its own sample,
                or the batch's mean weight for the batch's mean loss; None: the method's own.
            normalize: "mean1" divides the weights by their mean over the subset.

        Raises:
            ValueError: before the score is final, naming the epochs or the pass that are missing.
        """
        self._exports.static()
        self.timeline.last_pass()
        self._exports.note_final()
        return self._exports.subset(method, keep=keep, balance=balance, weights=weights, normalize=normalize)

    @property
    def final(self) -> dict[str, int]:
        """For static methods by name: the epoch before which the score is final."""
        return self._exports.static().final

    def provenance(self) -> dict[str, Any]:
        """What produced a table or a subset."""
        return self._exports.provenance()

    def report(self, path: str | Path, *, features: Any = None, class_names: Sequence[str] = ()) -> Path:
        """Write the run as one HTML file, and `table()` beside it as Parquet. Needs the extra `html`."""
        from samplewise.html.of_selector import report

        return report(self, path, features, class_names)

    @property
    def ledger(self) -> Ledger:
        """What was spent and saved so far."""
        self.timeline.position.charge()
        return self._ledger

    def __repr__(self) -> str:
        where = "done" if self.epoch == self.epochs else f"epoch {self.epoch}"
        return f"Selector({self.policy!r}, n={self.n}, {where} of {self.epochs})"

    def _repr_html_(self) -> str:
        return f"{escape(repr(self))}{self.ledger._repr_html_()}"

    # ------------------------------------------------------------------------ state and copies

    def state_dict(self) -> dict[str, Any]:
        """Memory, plan and position at any step, as `torch.load(weights_only=True)` reads it.

        Raises:
            ValueError: with several processes, if `sync` is needed first.
        """
        return saved_state(self.timeline)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; the next iteration yields the remaining batches."""
        continue_from(self.timeline, state)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Selector":
        requirements.refuse_copy(self.forward, self.model, memo)
        return duplicate(self, memo)
