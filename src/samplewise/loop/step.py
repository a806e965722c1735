"""One training step: score the batch, narrow it, run the forward, observe the losses, weight and reduce."""

import time
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samplewise.cost.ledger import Ledger
from samplewise.data.layout import Layout
from samplewise.data.outputs import Batch, Outputs, as_batch, as_outputs, check_fields
from samplewise.distributed import collectives
from samplewise.distributed.shares import RealRows
from samplewise.engine.engine import Engine
from samplewise.loop.again import Chosen, Made, Steps
from samplewise.loop.helpers import ForwardRunner, Gatekeeper
from samplewise.loop.normalizing import normalized
from samplewise.loop.position import Position
from samplewise.loop.scoring import Scoring, without_trace
from samplewise.loop.scoring_forward import ScoringForward
from samplewise.loop.tokens import Tokens
from samplewise.loop.waiting import Waiting
from samplewise.signals import take_tokens

__all__ = ["Step", "weighted_mean"]


class Step:
    """One training step under a policy. It has the user's forward and model, the engine and the ledger.

    `Timeline` calls `open` when an epoch opens: what holds for a whole epoch is decided there.

    Args:
        engine: chooses and remembers.
        ledger: counts samples, forwards and seconds.
        position: the counts of the open epoch.
        forward: batch data -> per-sample losses (b,) or `Outputs`.
        model: the module that forward runs.
        scoring: how scores are computed.
        sync_every: number of steps after which processes exchange what they observed; None: never.
        waiting: the accepted samples that wait for a full batch, if the loader fills batches.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        position: Position,
        forward: Callable[[Any], Any] | None,
        model: nn.Module | None,
        scoring: Scoring,
        sync_every: int | None = None,
        waiting: Waiting | None = None,
    ) -> None:
        self.engine, self.ledger, self.position, self.policy = engine, ledger, position, engine.policy
        self.forward, self.model, self.scoring = forward, model, scoring
        self.sync_every, self.waiting = sync_every, waiting
        self.runner: ForwardRunner | None = None
        """Runs the training forward, if it takes more than a call."""
        self.gate: Gatekeeper | None = None
        self.scoring_forward = ScoringForward(ledger, scoring.view)
        """Scores the batches of steps and of passes."""
        self.tokens = position.tokens = Tokens(engine, ledger, position)
        """Chooses tokens, and counts them."""
        self.chosen: Chosen | None = None
        """The rows whose losses are awaited."""
        self.first_narrowed: int | None = None
        """The first epoch whose batches were narrowed."""
        self._layout, self._unchecked, self._unchecked_fields = Layout(), True, self.policy.needs
        self._signals, self.scores_epoch, self._steps = bool(self.policy.signals), False, Steps()

    # --------------------------------------------------------------------- the user's model

    def run(self, data: Any, b: int) -> Outputs:
        """The user's forward, with its result checked."""
        if self.forward is None:
            raise ValueError("forward must return per-sample losses, got None. Give Selector(forward=...).")
        return self.checked(self.forward(data), b)

    def checked(self, returned: Any, b: int) -> Outputs:
        """Check what a forward returned. The first time, also check for all fields that the policy needs."""
        outputs, policy = as_outputs(returned, b), self.policy
        if self._unchecked_fields and not self.scoring_forward.apart:
            check_fields(outputs, self._unchecked_fields, policy.name, take_tokens(policy.signals))
            self._unchecked_fields = ()
        return outputs

    def score(self, batch: Batch) -> Outputs:
        """A scoring forward. It leaves the model and the random states as found."""
        if self.model is None:
            raise ValueError(f"{self.policy.name} scores with the model, got None. Give Selector(model=...).")
        scores = self.scoring_forward
        with without_trace(self.model if scores.model is None else scores.model, self.scoring):
            found = self._scored(batch)
            return found if scores.target is None else scores.target.complete(found, self._scored)

    def _scored(self, batch: Batch) -> Outputs:
        if self.scoring_forward.cheap and self.forward is not None:
            return self.checked(self.scoring_forward(self.forward, batch), len(batch.ids))
        return self.run(batch.data, len(batch.ids))

    # ---------------------------------------------------------------------------- one batch

    def loss(self, batch: Any) -> tuple[Tensor, Outputs]:
        """The loss to back-propagate for a batch, and the outputs of its training forward."""
        ids, data = self.narrow(batch)
        try:
            if self.runner is not None:
                return self.runner.loss(self, data, len(ids))
            outputs = self.run(data, len(ids))
            return self.reduced(outputs), outputs
        except BaseException:
            self.chosen = None
            raise

    def narrow(self, given: Any) -> Batch:
        """The rows of a batch to train on; the whole batch if the open epoch is not narrowed."""
        whole: Batch = given if type(given) is Batch else as_batch(given)
        engine, position, ids, batch = self.engine, self.position, whole.ids, whole
        by_ids = engine.n > 0 or position.from_loader
        made = self._steps.find_or_add(ids, batch.data, by_ids, position.from_loader)
        if made.chosen is not None:  # the optimizer evaluates a batch again
            return self._again(made, made.chosen, batch)
        if not engine.opened:
            raise ValueError(
                "no epoch is open: take batches from selector.loader(), or call plan(epoch). Evaluate the "
                "last batch of an epoch before you ask the loader for another: this ends the epoch."
            )
        if self.chosen is not None:
            self.refuse_unweighed()
        together, narrows, real, done = engine.together, engine.narrows, None, position.done + len(ids)
        if self._unchecked:
            self._check_layout(batch)
        if self.waiting is not None and narrows:
            return self._filled(made, batch, self.waiting)
        if together:
            if position.batches:
                engine.memory.exchange(position.batches, self.sync_every)
            real, done = position.next_step(position.done, len(ids))
        if self.gate is not None:
            narrows = self.gate.narrows(batch, len(ids) if real is None else real.mine)
        if narrows:
            batch, chosen = self._narrowed(batch, real)
        else:
            chosen = Chosen(ids) if real is None else Chosen(ids, real=real.mine, total=real.total)
        if self.scoring_forward.apart:
            self.scoring_forward.came(whole, chosen, None if real is None else real.mine)
        self._note(made, chosen, batch, len(ids) if real is None else real.mine)
        position.done = done
        return batch

    def _note(self, made: Made, chosen: Chosen, batch: Batch, rows: int) -> None:
        """Note what a step has chosen: `batch` trains. `rows` is the number that came to this process."""
        position, made.chosen, made.rows, self.chosen = self.position, chosen, rows, chosen
        chosen.unseen &= self.scoring_forward.target is None
        position.batches, position.samples = position.batches + 1, position.samples + rows
        position.method_called = True
        if self.tokens.chooses:
            self.tokens.came(self.forward, batch, chosen)
        if self.scoring_forward.learns:
            self.scoring_forward.trains(batch, chosen.real)

    def _narrowed(self, batch: Batch, real: RealRows | None) -> tuple[Batch, Chosen]:
        """Score a batch if this epoch scores, and choose the rows to train on."""
        engine, (ids, data) = self.engine, batch
        if real is not None:
            if real.mine < min(2, len(ids)):
                return self._at_most_one_row(batch, real)
            data, ids = self._layout.take(data, torch.arange(real.mine), len(ids)), ids[: real.mine]
        b = len(ids)
        scored = self.scores_epoch and engine.scores_batches
        rows, weights = self._choose(Batch(ids, data), scored)
        k, begun = len(rows), time.perf_counter()
        if k < b:
            data, ids = self._layout.take(data, rows, b), ids[rows]
        self.ledger.trained(k)
        # Rows that were scored are observed already; the others are observed when they train.
        unseen = not scored and engine.observes_chosen
        chosen = Chosen(ids, weights, whole=False, unseen=unseen, rows=rows if k < len(batch.ids) else None)
        if real is not None or (engine.together and engine.uneven):
            over = engine.mean_over(b, k)
            chosen.real, chosen.total, chosen.each = k, collectives.total(over), over / k if k else 1.0
        self.ledger.seconds["selecting"] += time.perf_counter() - begun
        return Batch(ids, data), chosen

    def _at_most_one_row(self, batch: Batch, real: RealRows) -> tuple[Batch, Chosen]:
        """Keep 2 rows of a batch with at most one real row, because batch norm needs 2 rows."""
        engine, mine, (ids, data) = self.engine, real.mine, batch
        if mine:
            engine.look(ids[:1], self._layout.take(data, torch.arange(1), len(ids)))
        first = torch.arange(min(2, len(ids)))
        data, ids = self._layout.take(data, first, len(ids)), ids[first]
        if self.scores_epoch and engine.scores_batches:
            self.score(Batch(ids, data))  # a sharded model waits until every rank calls it
        self.ledger.trained(mine)
        total, weights = collectives.total(mine), engine.weights(ids)
        return Batch(ids, data), Chosen(ids, weights, whole=False, real=mine, total=total, rows=first)

    def _choose(self, batch: Batch, due: bool) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        """The rows of a batch to train on, and their weights, after a scoring forward if one is `due`."""
        engine, (ids, data) = self.engine, batch
        seconds, begun = self.ledger.seconds, time.perf_counter()
        if due:
            seen = self.score(batch)
            self.ledger.scoring_forwards += 0 if self.scoring_forward.cheap else len(ids)
            seconds["scoring"] += time.perf_counter() - begun
            begun = time.perf_counter()
            engine.memory.observe(ids, seen, "training")
        if engine.looks:
            engine.look(ids, data)
        rows, weights = engine.choose(ids)
        seconds["selecting"] += time.perf_counter() - begun
        return rows, weights

    def accept(self, batch: Batch) -> Int[Tensor, " k"]:
        """The ids accepted of a meta-batch, for the loader that fills batches with them."""
        rows, _ = self._choose(batch, self.scores_epoch and self.engine.scores_batches)
        self.position.method_called = True
        self.position.done += len(batch.ids)
        return batch.ids[rows.to(batch.ids.device)]

    def _filled(self, made: Made, batch: Batch, waiting: Waiting) -> Batch:
        """A batch of accepted samples. All of its rows are trained on: they were scored before."""
        waiting.trained(batch.ids.tolist())
        self.ledger.trained(len(batch.ids))
        self._note(made, Chosen(batch.ids, whole=False, unseen=False), batch, len(batch.ids))
        return batch

    # --------------------------------------------------------------------------- its losses

    def reduced(self, outputs: Outputs) -> Tensor:
        """(weights * losses).mean() of the rows that `narrow` gave, or of their tokens. Observes the rows."""
        reduced = outputs
        if outputs.token_losses is not None or self.tokens.chooses:
            reduced = self.tokens.summed(self.awaited(), outputs)
        return weighted_mean(reduced.loss, self.finish(outputs, reduced.normalizer))

    def finish(self, outputs: Outputs, normalizer: Tensor | None = None) -> Float[Tensor, " k"] | None:
        """End the step: observe the losses if not yet done, and return the factor of each row.

        The loss is the sum of factors * losses. A factor is the weight / k, or None if all are 1 / k. With
        padding a factor refers to the real rows of all processes, and that of a padded row is 0.
        """
        chosen = self.awaited()
        engine, ids, k, real = self.engine, chosen.ids, len(chosen.ids), chosen.real
        begun = time.perf_counter()
        if chosen.unseen and real != 0:
            seen, given = (ids, outputs) if real is None else (ids[:real], outputs.first(real))
            if not engine.memory.observe(seen, given, "training") and chosen.whole and self._signals:
                self.ledger.ignored_observations += len(seen)
        chosen.unseen, chosen.evaluated = False, True
        weights = chosen.weights
        if real is None:
            if not chosen.whole:
                factors = None if weights is None else weights / k
            else:
                factors = engine.weights(ids, over=k) if engine.weighted else None
        else:
            if chosen.whole:
                weights = engine.weights(ids)
            factors = torch.ones(k, device=ids.device) if weights is None else weights * chosen.each
            factors[real:] = 0
            # Gradients are averaged over the processes, so factors refer to the rows of all of them.
            factors *= collectives.world() / chosen.total
        if normalizer is not None:
            factors = normalized(factors, normalizer, real)
        self.ledger.seconds["selecting"] += time.perf_counter() - begun
        self.chosen = None
        return factors

    def weigh(self, returned: Any, by_tokens: bool = False) -> Float[Tensor, " k"]:
        """The weights of the rows that `narrow` gave. Observes them if still needed.

        `by_tokens`: the caller reduces the losses of the tokens that `tokens.taken` gives.
        """
        chosen = self.awaited()
        k = len(chosen.ids)
        outputs, divisor = self.checked(returned, k), chosen.divisor if by_tokens else k
        if self.tokens.choice is not None and not by_tokens:
            raise ValueError(
                f"{self.policy.name} chooses tokens, so rows have no factors. Call selector.reduce(outputs)."
            )
        factors = self.finish(outputs, outputs.normalizer)
        return torch.ones(k, device=outputs.loss.device) if factors is None else factors * divisor

    def awaited(self) -> Chosen:
        """The rows whose losses are awaited. If the last step is evaluated again, it is charged again.

        Raises:
            ValueError: if there are none.
        """
        if self.chosen is None and (made := self._steps.evaluated) is not None and made.chosen is not None:
            made.charge_again(self.ledger, self.position, self.waiting is not None and self.engine.narrows)
            self.chosen = made.chosen
        if self.chosen is None:
            raise ValueError(
                "no batch is waiting for its losses. Call selector.narrow(batch) first, once for each batch."
            )
        return self.chosen

    @property
    def awaits_losses(self) -> bool:
        """Whether the method still needs the losses of the rows that `narrow` gave last."""
        chosen = self.chosen
        if chosen is None:
            return False
        weighted = chosen.weights is not None or chosen.real is not None
        weighted = weighted or (chosen.whole and self.engine.weighted) or self.tokens.choice is not None
        return weighted or (chosen.unseen and self.engine.uses_training)

    @property
    def means_over_all(self) -> bool:
        """Whether the mean of the rows that `narrow` gave last is over the rows of all processes."""
        return self.chosen is not None and self.chosen.real is not None

    def refuse_unweighed(self) -> None:
        """Raise if the method would silently miss the losses of the last batch."""
        if self.awaits_losses:
            self.chosen = None
            raise RuntimeError(
                f"{self.policy.name} needs the losses of every batch, but got none for the last one. Call "
                "selector.reduce(losses) or selector.weigh(losses) after selector.narrow(batch)."
            )

    # ----------------------------------------------------------------------- the same batch

    def _again(self, made: Made, chosen: Chosen, batch: Batch) -> Batch:
        """The rows that were chosen before from this batch, to evaluate its loss again."""
        if chosen.evaluated:
            made.charge_again(self.ledger, self.position, self.waiting is not None and self.engine.narrows)
        self.chosen, rows = chosen, chosen.rows
        b = len(batch.ids)
        return batch if rows is None else Batch(batch.ids[rows], self._layout.take(batch.data, rows, b))

    # ------------------------------------------------------------------- epochs and layout

    def open(self) -> None:
        """Decide what is fixed for the open epoch, and forget the steps of the last epoch."""
        engine = self.engine
        self.forget()
        if self.gate is not None:
            self.gate.opens()
        first = engine.epoch if self.first_narrowed is None else self.first_narrowed
        self.scores_epoch = (engine.epoch - first) % self.scoring.every == 0

    def close(self) -> None:
        """The open epoch ends."""
        self.refuse_unweighed()
        if self.gate is not None:
            self.gate.closes()

    def end_selection(self, epoch: int | None = None) -> None:
        """End selection: later epochs, or those from `epoch` on, train on every sample with weight 1."""
        self.engine.end_selection(self.engine.epoch + 1 if epoch is None else epoch)
        self.scoring_forward.apart = self.scoring_forward.learns = False
        self._unchecked_fields, self._signals = (), False

    def forget(self) -> None:
        """Forget all steps, and do not wait for losses."""
        self.chosen = None
        self._steps.forget()

    def came(self) -> None:
        """Note that the loader yielded a batch."""
        self._steps.came()

    @property
    def layout(self) -> Layout:
        """What is known of the parts of a batch."""
        return self._layout

    @layout.setter
    def layout(self, layout: Layout) -> None:
        self._layout, self._unchecked = layout, True

    def lay_out(self, collate: Callable[[list[Any]], Any] | None) -> Layout | None:
        """Start a new layout for this collate; return it if the loader must call its `learn`, else None."""
        if self.waiting is not None or not self.engine.picks_rows():
            return None
        self.layout = Layout.of(collate)
        return self.layout if self.layout.learns else None

    def _check_layout(self, batch: Batch) -> None:
        """At the first batch: raise if rows could not be picked out of a later one."""
        self._unchecked = False
        passes = self.policy.level == "static"  # whose passes need a data set
        if self.waiting is None and (self.position.loads or not passes) and self.engine.picks_rows():
            self._layout.check(batch.data, len(batch.ids))


def weighted_mean(losses: Float[Tensor, " k"], factors: Float[Tensor, " k"] | None) -> Tensor:
    """(weights * losses).mean() over the k rows in float32, with factors = weights / k; None: all 1 / k.

    The weights are divided by k before autograd sees them, so autograd needs one dot product only.
    """
    losses = losses.float() if losses.dtype in (torch.float16, torch.bfloat16) else losses
    return losses.mean() if factors is None else torch.dot(losses, factors.to(losses))
