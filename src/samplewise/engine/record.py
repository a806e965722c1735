"""One static method being recorded: what it follows, and when its score is final."""

from dataclasses import dataclass

from samplewise.cost.ledger import BACKWARD, FORWARD
from samplewise.policy import Policy
from samplewise.trackers import Tracker

__all__ = ["Record"]


@dataclass
class Record:
    """A static policy in one training.

    Args:
        policy: the method.
        tracker: its tracker for this training; None if it keeps all samples and so needs no score.
        final: the epoch before which its score is final.
        done: whether its score is final.
        scored: whether it is final and made of observations.
        seconds: how long it took to make the score final.
    """

    policy: Policy
    tracker: Tracker | None
    final: int
    done: bool = False
    scored: bool = False
    seconds: float = 0.0

    @classmethod
    def of(cls, policy: Policy, epochs: int, classes: int | None = None) -> "Record":
        """The record of a policy in a training of `epochs` on data of so many classes (None: not known).

        One that keeps all has nothing to record.
        """
        if cls(policy, None, 0).keeps_all:
            return cls(policy, None, 0, done=True)
        tracker = None
        if policy.tracker is not None:
            tracker = policy.tracker.for_classes(classes).within(epochs)
        final = epochs if policy.final == "end" else int(policy.final or 0)
        if tracker is not None and tracker.enough is not None and policy.source == "training":
            final = min(final, tracker.enough)
        return cls(policy, tracker, final)

    @property
    def keeps_all(self) -> bool:
        """Whether it keeps every sample, so that nothing is recorded."""
        return self.policy.picker is not None and self.policy.picker.everything

    def passes_before(self, epoch: int) -> bool:
        """Whether it needs a pass before `epoch`."""
        return not self.done and self.policy.source == "pass" and self.final == epoch

    def cost(self, n: int) -> float:
        """Forward units to record it alone, over n samples: training until it is final, and its pass."""
        passed = 0
        if self.policy.source == "pass":
            passed = FORWARD + BACKWARD * ("gradient_norm" in self.policy.reads)
        return float(n * (self.final * (FORWARD + BACKWARD) + passed))
