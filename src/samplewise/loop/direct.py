"""`Direct`: the calls of loops without our loader - observe, look and choose - with the ledger."""

from typing import Any

from jaxtyping import Float, Int, Integer
from torch import Tensor

from samplewise.cost.ledger import Ledger
from samplewise.data.ids import whole
from samplewise.data.outputs import Outputs, as_outputs, check_shapes
from samplewise.engine.engine import Engine
from samplewise.loop.position import Position
from samplewise.loop.requirements import refuse_assembled, refuse_scorer
from samplewise.loop.scoring import Scoring
from samplewise.signals import take_tokens

__all__ = ["Direct"]

Ids = Integer[Tensor, " b"]


class Direct:
    """Checks what a user's own loop gives, passes it to the engine, and counts it."""

    def __init__(self, engine: Engine, ledger: Ledger, position: Position, scoring: Scoring) -> None:
        self.engine, self.ledger, self.position, self.scoring = engine, ledger, position, scoring
        self._has_graph = False
        """Whether the losses observed last can be back-propagated: then their forward is the training's."""

    def observe(self, ids: Ids, outputs: Outputs | Tensor, source: str) -> None:
        """See `Selector.observe`."""
        engine, policy, ledger = self.engine, self.engine.policy, self.ledger
        refuse_assembled(policy, "selector.observe")
        refuse_scorer(self.scoring, "selector.observe")
        if source not in ("training", "pass"):
            raise ValueError(f"source must be one of 'training', 'pass', got {source!r}.")
        ids = whole(ids, "observe")
        seen = as_outputs(outputs, len(ids))
        if policy.signals and type(outputs) is not Tensor and engine.memory.uses(source):
            check_shapes(seen, policy.reads, take_tokens(policy.signals))
        self.position.method_called = True
        used = engine.memory.observe(ids, seen, source)
        if not used and policy.signals:
            ledger.ignored_observations += len(ids)
        if source == "pass":
            ledger.passed(len(ids))
        elif not self.position.loads and engine.narrows and engine.scores_batches and used:
            self._has_graph = seen.loss.requires_grad
            if self._has_graph:
                ledger.training_forwards += len(ids)
            else:
                ledger.scoring_forwards += len(ids)

    def look(self, ids: Ids, data: Any) -> None:
        """See `Selector.look`."""
        refuse_assembled(self.engine.policy, "selector.look")
        self.engine.look(whole(ids, "look"), data)

    def choose(self, ids: Ids) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"] | None]:
        """See `Selector.choose`."""
        refuse_assembled(self.engine.policy, "selector.choose")
        refuse_scorer(self.scoring, "selector.choose")
        rows, weights = self.engine.choose(whole(ids, "choose"))
        self.position.method_called = True
        self.position.samples += len(ids)
        if self.engine.narrows:
            self.ledger.trained(len(rows), forward=not self._has_graph)
        self._has_graph = False
        return rows, weights
