"""`StepCalls`: what a training loop calls in every step - narrow, weigh, reduce, or all in one: loss."""

import copy
from collections.abc import Callable
from html import escape
from types import FunctionType
from typing import Any, Literal, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise.calls import EngineCalls
from samplewise.data.layout import Layout
from samplewise.data.outputs import Batch, Outputs, as_batch
from samplewise.distributed import collectives
from samplewise.distributed.shares import Share, share_of
from samplewise.loop.again import Made
from samplewise.loop.requirements import refuse_proxy
from samplewise.loop.step import Chosen, Step, weighted_mean
from samplewise.loop.waiting import Waiting, refuse_assembled

__all__ = ["StepCalls"]

_CHECKED_EVERY = 32
"""Steps after which processes on CPUs ask each other for losses that are not finite."""


class StepCalls(EngineCalls):
    """The calls of a step, and what several processes tell each other between steps."""

    _step: Step
    _chosen: Chosen | None
    _mask: Tensor | None
    _unchecked = True
    """Whether no batch was seen yet of the loader that is in use."""

    @overload
    def loss(self, batch: Batch, return_outputs: Literal[False] = False) -> Tensor: ...
    @overload
    def loss(self, batch: Batch, return_outputs: Literal[True]) -> tuple[Tensor, Outputs]: ...
    @overload
    def loss(self, batch: Batch, return_outputs: bool) -> Tensor | tuple[Tensor, Outputs]: ...

    def loss(self, batch: Batch, return_outputs: bool = False) -> Tensor | tuple[Tensor, Outputs]:
        """The loss to back-propagate: scores, narrows, observes and weights as the method says.

        It is `(weights * losses).mean()` over the rows that are trained, in float32; with a proxy plus
        that of the proxy's losses.

        Args:
            batch: as the loader yields it, moved to where the model is.
            return_outputs: also return the training forward's `Outputs`.
        """
        ids, data = self._narrow(batch)
        try:
            if self.policy.proxy:
                outputs, narrow = self._step.run_both(self._ledger, data, len(ids))
                shares = self._shares(outputs)
                loss = weighted_mean(outputs.loss, shares) + weighted_mean(narrow.loss, shares)
            else:
                outputs = self._run(data, len(ids))
                loss = self._reduce(outputs)
        except BaseException:
            self._chosen = None
            raise
        return (loss, outputs) if return_outputs else loss

    def came_from_plan(self, ids: Int[Tensor, " b"]) -> None:
        """Called by the loader with the ids of every batch, which then need no check."""
        self._engine.inside = ids

    def _run(self, data: Any, b: int) -> Outputs:
        """The training forward; the first is measured where the method's own work is charged in its units."""
        if self._uncounted:
            return self._step.run_counted(self._ledger, data, b)
        return self._step.run(data, b)

    @property
    def _uncounted(self) -> bool:
        return self._ledger.forward_flops is None and self._engine.computes

    def narrow(self, batch: Batch) -> Batch:
        """The rows of a batch to train on, for loops that run the forward themselves.

        At batch level inside the active window it scores, observes and chooses; else the batch passes
        as it is. Then give the losses of these rows to `reduce` or `weigh`.

        Raises:
            RuntimeError: if the losses of the batch before were wanted and never given.
        """
        refuse_assembled(self.policy, "selector.narrow")
        refuse_proxy(self.policy, "selector.narrow")
        narrowed = self._narrow(batch)
        if self._uncounted and self._engine.narrows:
            self._step.count_next(self._ledger, len(narrowed.ids))
        return narrowed

    def _narrow(self, given: Any) -> Batch:
        """As `narrow`, for a forward that is run here."""
        engine = self._engine
        batch: Batch = given if type(given) is Batch else as_batch(given)
        by_ids = self.n > 0 or self._started
        if (made := self._steps.find(batch.ids, batch.data, by_ids, self._started)) is not None:
            return self._narrowed_again(made, batch)
        if not engine.opened:
            raise ValueError(
                "no epoch is open: take batches from selector.loader(), or call plan(epoch). A batch must be "
                "evaluated the first time before the loader is asked for one after the last."
            )
        self.refuse_unweighed()
        if engine.together and self._batches:
            self._tell()
        (ids, data), b = batch, len(batch.ids)
        if self._unchecked:
            self._check_layout(batch)
        if self.waiting is not None and engine.narrows:
            return self._assembled(batch, self.waiting)
        share = self._share(b) if engine.together else None
        if engine.narrows:
            scored = engine.scores_batches and self._scores_in(engine.epoch)
            batch, self._chosen = self._step.narrow(engine, self._ledger, batch, scored, share)
        elif share is None:
            self._chosen = Chosen(batch.ids)
        else:
            self._chosen = Chosen(batch.ids, real=share.mine, total=share.total)
        self._heard = True
        rows = b if share is None else share.mine
        self._steps.add(Made.of(ids, None if by_ids else data, self._chosen, rows))
        self._batches += 1
        self._samples += rows
        self._done += b * collectives.world() if engine.together else b
        return batch

    @property
    def layout(self) -> Layout:
        """What is known of the parts of a batch; a stream says it of its own."""
        return self._step.layout

    @layout.setter
    def layout(self, layout: Layout) -> None:
        self._step.layout, self._unchecked = layout, True

    def lay_out(self, collate: Callable[[list[Any]], Any] | None) -> Layout | None:
        """Begin with the batches of this collate; returns what a loader must show samples, if anything."""
        if not (self.waiting is None and self._engine.picks_rows()):
            return None
        self.layout = Layout.of(collate)
        return self.layout if self.layout.learns else None

    def _check_layout(self, batch: Batch) -> None:
        """At the first batch: raise if rows could not be picked out of a later one."""
        self._unchecked = False
        passes = self.policy.level == "static"  # which are made here only of a data set
        if self.waiting is None and (self.dataset is not None or not passes) and self._engine.picks_rows():
            self.layout.check(batch.data, len(batch.ids))

    def _narrowed_again(self, made: Made, batch: Batch) -> Batch:
        """The rows that were chosen of a batch before, for another evaluation of its loss."""
        if made.chosen.evaluated:
            self._charge_again(made)
        self._chosen, rows = made.chosen, made.chosen.rows
        if rows is None:
            return batch
        return Batch(batch.ids[rows], self.layout.take(batch.data, rows, len(batch.ids)))

    def _charge_again(self, made: Made) -> None:
        """Another forward of a step's rows, which ordinary training would make too."""
        chosen, backward = made.chosen, torch.is_grad_enabled()
        came = made.rows
        if self.waiting is not None and self._engine.narrows:
            came = round(came * self._done / max(1, self._samples))
        trained = len(chosen.ids) if chosen.real is None else min(chosen.real, len(chosen.ids))
        self._ledger.again(trained, self._ordinary(came), backward)
        chosen.evaluated = False

    def assembles(self, epoch: int) -> bool:
        """Whether the loader fills the batches of `epoch` with accepted samples."""
        picker = self.policy.at(min(epoch, self.epochs - 1), self.epochs).batch_picker
        return self.waiting is not None and picker is not None and not picker.everything

    def accept(self, batch: Batch) -> Int[Tensor, " k"]:
        """The ids that are accepted of a meta-batch, for the loader that fills batches with them."""
        engine = self._engine
        scored = engine.scores_batches and self._scores_in(engine.epoch)
        rows, _ = self._step.choose(engine, self._ledger, batch, scored)
        self._heard = True
        self._done += len(batch.ids)
        return batch.ids[rows.to(batch.ids.device)]

    def _assembled(self, batch: Batch, waiting: Waiting) -> Batch:
        """A batch of accepted samples, which were scored before: to be trained on as it is."""
        waiting.trained(batch.ids.tolist())
        self._ledger.trained(len(batch.ids))
        self._chosen = Chosen(batch.ids, whole=False, unseen=False)
        self._heard = True
        self._steps.add(Made.of(batch.ids, None, self._chosen, len(batch.ids)))
        self._batches += 1
        self._samples += len(batch.ids)
        return batch

    def reduce(self, outputs: Outputs | Tensor) -> Float[Tensor, ""]:
        """The loss to back-propagate of the rows that `narrow` gave.

        It observes them where they were not scored, and is `(weights * losses).mean()` in float32.

        Args:
            outputs: per-sample losses (k,) with graph, or `Outputs`.
        """
        refuse_assembled(self.policy, "selector.reduce")
        return self._reduce(self._step.checked(outputs, len(self._narrowed().ids)))

    def weigh(self, outputs: Outputs | Tensor) -> Float[Tensor, " k"]:
        """The factor of each row that `narrow` gave, for losses reduced in another way, as by tokens.

        `reduce` gives `(factors * losses).mean()`. It observes rows that were not scored.

        Args:
            outputs: per-sample losses (k,), or `Outputs`.
        """
        refuse_assembled(self.policy, "selector.weigh")
        chosen = self._narrowed()
        k = len(chosen.ids)
        outputs = self._step.checked(outputs, k)
        shares = self._shares(outputs)
        return torch.ones(k, device=outputs.loss.device) if shares is None else shares * k

    def _narrowed(self) -> Chosen:
        if self._chosen is None and (made := self._steps.last) is not None and made.chosen.evaluated:
            self._charge_again(made)
            self._chosen = made.chosen
        if self._chosen is None:
            raise ValueError(
                "no batch waits for its losses: call selector.narrow(batch) first, once a batch."
            )
        return self._chosen

    def _reduce(self, outputs: Outputs) -> Tensor:
        return weighted_mean(outputs.loss, self._shares(outputs))

    def _shares(self, outputs: Outputs) -> Tensor | None:
        shares = self._step.shares(self._engine, self._ledger, self._narrowed(), outputs)
        self._chosen = None
        return shares

    @property
    def awaits_losses(self) -> bool:
        """Whether the method needs the losses of the rows that `narrow` gave last, and has not got them."""
        chosen = self._chosen
        if chosen is None:
            return False
        weighted = chosen.weights is not None or chosen.real is not None
        if chosen.whole:
            weighted = weighted or self._engine.last_plan.weights is not None
        return weighted or (chosen.unseen and self._engine.uses("training"))

    @property
    def means_over_all(self) -> bool:
        """Whether the mean of the rows that `narrow` gave last is over those of all processes."""
        return self._chosen is not None and self._chosen.real is not None

    def refuse_unweighed(self) -> None:
        """Raise if the method would silently miss the losses of the last batch."""
        if self.awaits_losses:
            self._chosen = None
            raise RuntimeError(
                f"{self.policy.name} needs the losses of the batch before, to observe or to weight them: "
                "give them to selector.reduce(losses) or selector.weigh(losses) after selector.narrow(batch)."
            )

    def _scores_in(self, epoch: int) -> bool:
        first = epoch if self._first_narrowed is None else self._first_narrowed
        return (epoch - first) % self.scoring.every == 0

    # ------------------------------------------------------------------------ several processes

    def sync(self) -> None:
        """Take over what the other processes observed, and raise with them for losses not finite.

        Every process calls it, at the same step: before `state_dict()`, or whenever fresh scores of all
        samples are wanted inside an epoch. Alone it does nothing. The end of an epoch does it too.
        """
        self._agree()
        self._engine.meet()
        self._engine.merge()

    def _tell(self) -> None:
        """Between steps, at the same ones on every process."""
        if self.sync_every is not None and self._batches % self.sync_every == 0:
            self._engine.merge()
        elif self._batches % _CHECKED_EVERY == 0 and self._engine.on_cpu:
            self._engine.fail_together()

    def _share(self, b: int) -> Share | None:
        """This process's part of a step whose last rows are padding; None where none are."""
        if self.dataset is None:
            return None
        left = len(self._engine.last_plan) - self._done
        size = b if self._sharded or self.batch_size is None else self.batch_size
        share = share_of(left, size, self._engine.rank, collectives.world(), self._sharded)
        return None if share is None else Share(min(share.mine, b), share.total)

    # ----------------------------------------------------------------------------------- shown

    def __repr__(self) -> str:
        where = "done" if self.epoch == self.epochs else f"epoch {self.epoch}"
        return f"Selector({self.policy!r}, n={self.n}, {where} of {self.epochs})"

    def _repr_html_(self) -> str:
        self._settle()
        return f"{escape(repr(self))}{self._ledger._repr_html_()}"

    # ---------------------------------------------------------------------------------- copies

    def __deepcopy__(self, memo: dict[int, Any]) -> "StepCalls":
        # What a function refers to is not copied with it: it goes on running the original model.
        model, shared = self.model, isinstance(self.forward, FunctionType)
        parts = [model, *model.parameters()] if model is not None and shared else []  # an optimizer has them
        if any(memo.setdefault(id(part), part) is not part for part in parts):
            raise TypeError(
                "this Selector cannot be copied together with its model: its forward is a function, which "
                "goes on running the original model. Give a forward that holds it, as sw.classifier(model) "
                "does, or load state_dict() into a Selector of the copied model."
            )
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__setstate__(copy.deepcopy(vars(self), memo))
        return made

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy goes on where the original is: no loop runs over it yet, as after `load_state_dict`."""
        vars(self).update(state)
        self._resumed = self._resumed or (self._started and self._engine.opened)
        self._started, self._timed = False, None
        if self._mask is not None:
            self._mask.share_memory_()  # type: ignore[no-untyped-call]

    # --------------------------------------------------------------------------------- streams

    def mask(self) -> Bool[Tensor, " n"]:
        """Which samples the open epoch trains on, in shared memory: every later plan is written into it.

        Workers that were handed the tensor see each plan, so a stream can drop samples before it decodes
        them. All True until the first plan.
        """
        if not self.n:
            raise ValueError("a mask needs the number of samples: Selector(policy, n, ...).")
        if self._mask is None:
            self._mask = torch.ones(self.n, dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]
            self._show_plan()
        return self._mask

    def _show_plan(self) -> None:
        if self._mask is not None and self._engine.opened:
            shown = torch.zeros(self.n, dtype=torch.bool)
            shown[self._engine.last_plan.ids] = True
            self._mask.copy_(shown)
