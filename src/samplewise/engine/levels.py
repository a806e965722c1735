"""What each level of a policy measures and remembers."""

from samplewise.policy import Policy
from samplewise.signals import Signal
from samplewise.trackers import Tracker
from samplewise.trackers.levels import BATCH, EPOCH, Levels

__all__ = ["measured", "memory_of", "nonnegative"]


def measured(policy: Policy, source: str) -> dict[str, tuple[Signal, ...]]:
    """The signals to measure in observations from a source, by what their names in the memory begin with.

    That is nothing, or the level if each level has signals of its own. The scoring forward of a batch counts
    as training.
    """
    signals, _ = policy.read_by("picker")
    mine = signals if source in policy.source.split("+") else ()
    if policy.batch_tracker is None:
        return {"": mine} if mine else {}
    batch = policy.read_by("batch_picker")[0] if source == "training" else ()
    return {level: found for level, found in ((EPOCH, mine), (BATCH, batch)) if found}


def memory_of(policy: Policy) -> Tracker | None:
    """The tracker of everything that a policy remembers: that of both levels, if each has its own."""
    if policy.tracker is None or policy.batch_tracker is None:
        return policy.tracker
    return Levels(policy.tracker, policy.batch_tracker)


def nonnegative(policy: Policy, level: str) -> bool:
    """Whether the signals of a level must be >= 0. A `level` is a key of `measured`."""
    picker = {EPOCH: policy.picker, BATCH: policy.batch_picker}.get(level)
    return policy.nonnegative if picker is None else picker.nonnegative
