"""What a method costs, found by a run of it on a toy task: a few rows, a network of one layer."""

from dataclasses import dataclass
from functools import lru_cache

from samplewise.advice.rehearsal import rehearse, scoring_run
from samplewise.bench.methods import split
from samplewise.bench.protocols.strategies import planned_samples
from samplewise.coresets.parse import parse
from samplewise.policy import Policy

__all__ = ["Spent", "spent"]

_SIZES = _ROWS, _BATCH = 240, 24
_NARROW = 0.25
"""FLOPs of a narrow view with half the channels, in shares of the model's."""
_PLAIN = 5
"""Epochs in which the toy times the loop without selection."""


@dataclass(frozen=True)
class Spent:
    """What a run spends, in shares of full training of the same length.

    Args:
        steps: optimizer steps.
        trained: samples with a forward and a backward.
        scored: forwards that only score.
        scoring_epochs: epochs of full training in a scoring run before it; 0 without one.
        around: seconds of a step of the toy. This is nearly all loader and selection.
    """

    steps: float
    trained: float
    scored: float
    scoring_epochs: int = 0
    around: float = 0.0

    def cost(self, epochs: int) -> float:
        """The cost of a run of this length, in epochs of full training, scoring included."""
        return self.training(epochs) + self.scoring_epochs

    def training(self, epochs: int) -> float:
        """The same without a scoring run."""
        return (self.trained + self.scored / 3) * epochs


@lru_cache(maxsize=1024)
def spent(method: str, epochs: int) -> Spent:
    """What a method spends. Shares of samples are exact, others depend on losses and are those of the toy.

    Args:
        method: as on the command line.
        epochs: of its run.
    """
    policy = parse(split(method)[0])
    if getattr(policy, "level", "") == "static":
        return _static(policy, epochs)
    if getattr(policy, "level", "") == "token":  # whichever tokens carry a loss, all rows train
        return spent("full", epochs)
    own = not isinstance(policy, Policy)  # a method of another kind plans in the run only
    if not own and policy.source == "none" and (planned := planned_samples(policy, *_SIZES, epochs)):
        share = planned / (_ROWS * epochs)
        measured = (policy.name, epochs) == ("full", _PLAIN)
        around = 0.0 if measured else spent("full", _PLAIN).around
        if around:
            return Spent(1.0 if policy.level == "batch" else share, share, 0.0, around=around)
    proxy, found = getattr(policy, "proxy", False), rehearse(policy, epochs, *_SIZES)
    ledger, whole = found.ledger, _ROWS * epochs
    trained = ledger.samples_backpropagated / whole
    scored = (ledger.cost - 3 * ledger.samples_backpropagated) / whole
    if proxy:
        trained, scored = trained * (1 + _NARROW), scored * _NARROW
    around = found.seconds / max(1, found.steps)
    return Spent(found.steps / (epochs * (_ROWS // _BATCH)), trained, scored, around=around)


def _static(policy: Policy, epochs: int) -> Spent:
    """A scoring run until the score is final, and a training on what is kept."""
    share, needed = scoring_run(policy, epochs, *_SIZES)
    return Spent(share, share, 0.0, needed, spent("full", _PLAIN).around)
