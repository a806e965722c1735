"""One training step of the front door: forward, score, narrow, observe, weight."""

import time
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplewise.engine import Engine
from samplewise.ledger import Ledger
from samplewise.outputs import Batch, Outputs, as_outputs, check_fields, take
from samplewise.policy import Policy
from samplewise.scoring import Scoring, without_trace

__all__ = ["Step", "weighted_mean"]

_HALF = (torch.float16, torch.bfloat16)


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
        self._unasked = policy.needs

    def run(self, data: Any, b: int) -> Outputs:
        """The user's forward, with its result checked; the first time also for all the policy needs."""
        if self.forward is None:
            raise ValueError("Selector(forward=...) is needed here: batch data -> per-sample losses.")
        outputs = as_outputs(self.forward(data), b)
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

    def narrowed(self, engine: Engine, ledger: Ledger, batch: Batch, scored: bool) -> tuple[Tensor, Outputs]:
        """Score the meta-batch if it is time to, choose, and run the chosen rows with graph."""
        ids, data = batch
        b, seconds = len(ids), ledger.seconds
        begun = time.perf_counter()
        if scored:
            seen = self.look(data, b)
            ledger.scoring_forwards += b
            looked = time.perf_counter()
            seconds["scoring"] += looked - begun
            begun = looked
            engine.observe(ids, seen, "training")
        rows, weights = engine.choose(ids)
        k = len(rows)
        if k < b:
            data, ids = take(data, rows, b), ids[rows]
        seconds["selecting"] += time.perf_counter() - begun
        outputs = self.run(data, k)
        ledger.trained(k)
        if not scored:
            engine.observe(ids, outputs, "training")
        return weighted_mean(outputs.loss, None if weights is None else weights / k), outputs

    def whole(self, engine: Engine, ledger: Ledger, batch: Batch) -> tuple[Tensor, Outputs]:
        """Run the whole batch and observe it in passing."""
        ids, data = batch
        outputs = self.run(data, len(ids))
        begun = time.perf_counter()
        if not engine.observe(ids, outputs, "training") and self.policy.signals:
            ledger.ignored_observations += len(ids)
        shares = engine.weights(ids, over=len(ids))
        ledger.seconds["selecting"] += time.perf_counter() - begun
        return weighted_mean(outputs.loss, shares), outputs


def weighted_mean(losses: Float[Tensor, " k"], shares: Float[Tensor, " k"] | None) -> Tensor:
    """(weights * losses).mean() over the k rows in float32, with `shares` = weights / k or None for all 1.

    The division comes before the graph: a dot product is then the cheapest node for it.
    """
    if losses.dtype in _HALF:
        losses = losses.float()
    return losses.mean() if shares is None else torch.dot(losses, shares.to(losses))
