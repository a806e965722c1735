"""Training forwards that also measure or train something else, for the few methods that need it."""

from typing import Any

from torch import Tensor, nn

from samplewise.cost.flops import CountNext, counted
from samplewise.cost.ledger import Ledger
from samplewise.data.outputs import Outputs, as_outputs, check_fields
from samplewise.engine.engine import Engine
from samplewise.engine.exports import Exports
from samplewise.loop.early import Early, check_early
from samplewise.loop.scorers import as_scorer, check_scorer
from samplewise.loop.second_model import SecondModel
from samplewise.loop.step import Step, weighted_mean
from samplewise.loop.target import TargetSet, target_set

__all__ = ["Measured", "WithProxy", "install"]


def install(step: Step, engine: Engine, ledger: Ledger, exports: Exports) -> None:
    """Let the step run the forwards that its method and scoring need; most need the plain ones."""
    scoring, policy = step.scoring, engine.policy
    target = target_set(scoring.target, scoring.at, policy, step.forward, step.model)
    if scoring.scorer is not None:
        scorer = as_scorer(scoring.scorer)
        model = check_scorer(scorer, engine, step.model)
        step.scoring_forward = SecondModel(scorer, engine, ledger, step.forward, model, scoring.view)
        exports.model = scorer.model
    elif scoring.at is not None and (policy.scores or "pass" in engine.memory.sources):
        found = check_early(scoring.at, engine, step.model, step.forward, exports.labels)
        step.scoring_forward = Early(ledger, scoring.view, scoring.at, *found, policy, engine.seed)
    if target is not None:
        scores = step.scoring_forward
        scores.target = TargetSet(target, policy, ledger, scores.cheap)
    if engine.policy.proxy:
        step.runner = WithProxy(ledger)
    elif engine.computes or step.scoring_forward.cheap or ledger.prior_flops or step.tokens.reference:
        step.runner = Measured(ledger)


class Measured:
    """Measures the FLOPs of the first training forward: the method's own work is charged in such units."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._next: CountNext | None = None
        self._b = 1

    def loss(self, step: Step, data: Any, b: int) -> tuple[Tensor, Outputs]:
        """The loss and the outputs of a batch of b rows."""
        if self.ledger.forward_flops is not None:
            outputs = step.run(data, b)
        else:
            outputs, flops = counted(lambda: step.run(data, b))
            self.ledger.forward_flops = flops / b
        return step.reduced(outputs), outputs

    def expect(self, model: nn.Module | None, b: int) -> None:
        """The loop runs the next forward itself, of b rows: measure that one."""
        if self.ledger.forward_flops is not None:
            return
        if self._next is not None:
            self._next.release()
        if model is not None:
            self._next, self._b = CountNext(model, self._enter), b

    def _enter(self, flops: int) -> None:
        self.ledger.forward_flops, self._next = flops / self._b, None


class WithProxy:
    """Trains a narrow view of the model too; the first time the FLOPs of both forwards are compared."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def loss(self, step: Step, data: Any, b: int) -> tuple[Tensor, Outputs]:
        """The sum of both losses, and the outputs of the model, for a batch of b rows."""
        outputs, narrow = self._run(step, data, b)
        factors = step.finish(outputs, outputs.normalizer)
        return weighted_mean(outputs.loss, factors) + weighted_mean(narrow.loss, factors), outputs

    def _run(self, step: Step, data: Any, b: int) -> tuple[Outputs, Outputs]:
        forward: Any = step.forward
        if self.ledger.proxy_share is not None:
            return step.run(data, b), as_outputs(forward.proxy(data), b)
        outputs, whole = counted(lambda: step.run(data, b))
        self.ledger.forward_flops = whole / b
        narrow, part = counted(lambda: as_outputs(forward.proxy(data), b))
        check_fields(narrow, step.policy.needs, f"{step.policy.name}'s forward.proxy")
        self.ledger.proxy_share = part / whole if whole else 1.0
        return outputs, narrow

    def expect(self, model: nn.Module | None, b: int) -> None:
        """Never called: a proxy is trained by `selector.loss` alone."""
