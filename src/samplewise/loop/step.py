"""One training step of the front door: forward, score, narrow, observe, weight."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from samplewise.cost.flops import CountNext, counted
from samplewise.cost.ledger import Ledger
from samplewise.data.layout import Layout
from samplewise.data.outputs import Batch, Outputs, as_outputs, check_fields
from samplewise.distributed import collectives
from samplewise.distributed.shares import Share
from samplewise.engine.engine import Engine
from samplewise.loop.scoring import Scoring, without_trace
from samplewise.policy import Policy

__all__ = ["Chosen", "Step", "normalized", "weighted_mean"]

_HALF = (torch.float16, torch.bfloat16)


@dataclass(slots=True)
class Chosen:
    """The rows that are being trained on, until their losses are known."""

    ids: Int[Tensor, " k"]
    weights: Float[Tensor, " k"] | None = None
    """What `choose` gave; None too for a whole batch, whose weights are the plan's."""
    whole: bool = True
    unseen: bool = True
    """Whether the losses are still to be observed."""
    real: int | None = None
    """Where processes train on different numbers of rows: how many here, from the front, are no padding."""
    total: int = 0
    """Then also: how many such rows all processes have."""
    rows: Int[Tensor, " k"] | None = None
    """Where in their batch they are; None: all of it."""
    evaluated: bool = False
    """Whether their losses came, at least once."""


class Step:
    """The user's forward and model, and how a batch becomes a loss under a policy."""

    def __init__(
        self,
        policy: Policy,
        forward: Callable[[Any], Any] | None,
        model: nn.Module | None,
        scoring: Scoring,
    ) -> None:
        self.policy, self.forward, self.model, self.scoring = policy, forward, model, scoring
        self.layout = Layout()
        self._unasked = policy.needs
        self._count: CountNext | None = None

    def run(self, data: Any, b: int) -> Outputs:
        """The user's forward, with its result checked."""
        if self.forward is None:
            raise ValueError("Selector(forward=...) is needed here: batch data -> per-sample losses.")
        return self.checked(self.forward(data), b)

    def run_both(self, ledger: Ledger, data: Any, b: int) -> tuple[Outputs, Outputs]:
        """The user's forward, and that of the narrow view; the first time their FLOPs are compared."""
        forward: Any = self.forward
        if ledger.proxy_share is not None:
            return self.run(data, b), as_outputs(forward.proxy(data), b)
        outputs, whole = counted(lambda: self.run(data, b))
        narrow, part = counted(lambda: as_outputs(forward.proxy(data), b))
        check_fields(narrow, self.policy.needs, f"{self.policy.name}'s forward.proxy")
        ledger.proxy_share = part / whole if whole else 1.0
        return outputs, narrow

    def run_counted(self, ledger: Ledger, data: Any, b: int) -> Outputs:
        """As `run`, entering into the ledger how many FLOPs a sample takes."""
        outputs, flops = counted(lambda: self.run(data, b))
        ledger.forward_flops = flops / b
        return outputs

    def count_next(self, ledger: Ledger, b: int) -> None:
        """Let the model's next forward, of b rows, enter how many FLOPs a sample takes."""
        if self._count is not None:
            self._count.release()
        if self.model is not None:
            self._count = CountNext(self.model, partial(self._enter, ledger, b))

    def _enter(self, ledger: Ledger, b: int, flops: int) -> None:
        ledger.forward_flops, self._count = flops / b, None

    def checked(self, returned: Any, b: int) -> Outputs:
        """What a forward returned, checked; the first time also for all the policy needs."""
        outputs = as_outputs(returned, b)
        if self._unasked:
            check_fields(outputs, self._unasked, self.policy.name)
            self._unasked = ()
        return outputs

    def look(self, data: Any, b: int) -> Outputs:
        """A scoring forward, which leaves no trace."""
        if self.model is None:
            raise ValueError(f"{self.policy.name} scores with the model: give Selector(model=...).")
        with without_trace(self.model, self.scoring):
            return self.run(data, b)

    def narrow(
        self, engine: Engine, ledger: Ledger, batch: Batch, scored: bool, share: Share | None
    ) -> tuple[Batch, Chosen]:
        """Score the meta-batch if it is time to, and choose the rows to train on."""
        ids, data = batch
        if share is not None:
            if share.mine < 2:  # nothing to choose from, but as many rows as a batch norm needs
                if share.mine:
                    engine.look(ids[:1], self.layout.take(data, torch.arange(1), len(ids)))
                first = torch.arange(min(2, len(ids)))
                data, ids = self.layout.take(data, first, len(ids)), ids[first]
                ledger.trained(share.mine)
                total = collectives.total(share.mine)
                weights = engine.weights(ids)
                return Batch(ids, data), Chosen(ids, weights, False, True, share.mine, total, first)
            data, ids = self.layout.take(data, torch.arange(share.mine), len(ids)), ids[: share.mine]
        b = len(ids)
        rows, weights = self.choose(engine, ledger, Batch(ids, data), scored)
        k, begun = len(rows), time.perf_counter()
        if k < b:
            data, ids = self.layout.take(data, rows, b), ids[rows]
        ledger.trained(k)
        unseen = not scored and engine.observes_chosen
        chosen = Chosen(ids, weights, whole=False, unseen=unseen, rows=rows if k < len(batch.ids) else None)
        if share is not None or (engine.together and engine.uneven):
            over = engine.mean_over(b, k)
            chosen.real, chosen.total = k, collectives.total(over)
            if weights is not None and over != k:
                chosen.weights = weights * (over / k)
        ledger.seconds["selecting"] += time.perf_counter() - begun
        return Batch(ids, data), chosen

    def choose(
        self, engine: Engine, ledger: Ledger, batch: Batch, scored: bool
    ) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        """The rows of a meta-batch to train on, and their weights; scores it first if it is time to."""
        ids, data = batch
        b, seconds, begun = len(ids), ledger.seconds, time.perf_counter()
        if scored:
            seen = self.look(data, b)
            ledger.scoring_forwards += b
            looked = time.perf_counter()
            seconds["scoring"] += looked - begun
            begun = looked
            engine.memory.observe(ids, seen, "training")
        engine.look(ids, data)
        rows, weights = engine.choose(ids)
        seconds["selecting"] += time.perf_counter() - begun
        return rows, weights

    def shares(
        self, engine: Engine, ledger: Ledger, chosen: Chosen, outputs: Outputs
    ) -> Float[Tensor, " k"] | None:
        """Observe what was not yet, and give weights / k of the k rows; None if all are 1 / k."""
        ids, k, real = chosen.ids, len(chosen.ids), chosen.real
        begun = time.perf_counter()
        if chosen.unseen and real != 0:
            seen, of = (ids, outputs) if real is None else (ids[:real], _first(outputs, real))
            if not engine.memory.observe(seen, of, "training") and chosen.whole and self.policy.signals:
                ledger.ignored_observations += len(seen)
        chosen.unseen, chosen.evaluated = False, True
        weights = chosen.weights
        if real is None:
            shares = engine.weights(ids, over=k) if chosen.whole else None if weights is None else weights / k
        else:
            if chosen.whole:
                weights = engine.weights(ids)
            shares = torch.ones(k, device=ids.device) if weights is None else weights.clone()
            shares[real:] = 0
            # The processes' gradients are averaged, so each row's share is of the rows of all of them.
            shares *= collectives.world() / chosen.total
        if outputs.normalizer is not None:
            shares = normalized(shares, outputs.normalizer, real)
        ledger.seconds["selecting"] += time.perf_counter() - begun
        return shares


def _first(outputs: Outputs, m: int) -> Outputs:
    """What is known of the first m rows."""
    named = ("loss", "logits", "targets", "features", "gradient_norm", "normalizer")
    rows = {name: getattr(outputs, name) for name in named}
    return replace(outputs, **{name: value[:m] for name, value in rows.items() if value is not None})


def normalized(
    shares: Float[Tensor, " k"] | None, normalizer: Shaped[Tensor, " k"], real: int | None
) -> Float[Tensor, " k"]:
    """The shares of a mean, divided by the mean normalizer of the rows; all 0 where that is 0.

    With `real`, how many rows from the front are no padding, the mean is over those of all processes.
    """
    given = normalizer.detach()
    given = given if given.dtype is torch.float64 else given.float()
    rows = given if real is None else given[:real]
    added, count = rows.sum(), torch.tensor(float(len(rows))).to(given)
    if real is not None:
        added, count = collectives.add_up(torch.stack([added, count])).unbind()
    if shares is None:
        shares = torch.full_like(given, 1 / len(given))
    return shares * torch.where(added > 0, count / added, 0).to(shares)


def weighted_mean(losses: Float[Tensor, " k"], shares: Float[Tensor, " k"] | None) -> Tensor:
    """(weights * losses).mean() over the k rows in float32, with `shares` = weights / k or None for all 1.

    The division comes before the graph: a dot product is then the cheapest node for it.
    """
    if losses.dtype in _HALF:
        losses = losses.float()
    return losses.mean() if shares is None else torch.dot(losses, shares.to(losses))
