"""`combine`: one policy that chooses samples for an epoch by one method, and rows of a batch by another."""

from dataclasses import replace
from types import MappingProxyType

from samplewise.coresets.parse import parse
from samplewise.policy import Policy

__all__ = ["combine"]


def combine(epoch: str | Policy, batch: str | Policy) -> Policy:
    """A policy of two levels: one method plans the epochs, the other one chooses inside their batches.

    Each method keeps its own signal and memory, as if it were alone. The scoring forward of a batch gives the
    losses of the second method, and of the first one too if that observes training. A pass is for the first
    method only. Methods with the same signal, memory and source share one memory.

    Args:
        epoch: a method of level `epoch`, or its text as on the command line. Or a coreset: `recipes.fixed`.
        batch: a method of level `batch`.

    Returns:
        The policy. It has level `epoch+batch`, and the `lr` of the first method.

    Raises:
        ValueError: if a method has another level, fills its batches itself or trains a proxy, or if the two
            need different modes of the model while it scores.

    >>> policy = combine("dynams:period=2", "evolved_sampling")
    >>> policy.name, policy.level, policy.source
    ('dynams and evolved_sampling', 'epoch+batch', 'pass')
    """
    first, second = _of_level(epoch, "epoch"), _of_level(batch, "batch")
    modes = {first.mode, second.mode} - {None}
    if len(modes) > 1:
        raise ValueError(
            f"combine needs methods that score in one mode, got mode={first.mode!r} of {first.name} and "
            f"mode={second.mode!r} of {second.name}. Set Policy.mode of one of them."
        )
    made = replace(
        first,
        batch_picker=second.batch_picker,
        mode=first.mode or second.mode,
        name=f"{first.name} and {second.name}",
        params=MappingProxyType({}),
    )
    if not second.signals or _memory(first) == _memory(second):
        return made
    if not first.signals:
        return replace(made, signal=second.signal, tracker=second.tracker, source=second.source)
    return replace(made, batch_signal=second.signal, batch_tracker=second.tracker)


def _memory(policy: Policy) -> tuple[object, ...]:
    """What decides the content of its memory."""
    return policy.signals, policy.tracker, policy.source


def _of_level(method: str | Policy, level: str) -> Policy:
    """The policy of a method, which must choose at this level alone."""
    policy = parse(method) if isinstance(method, str) else method
    if not isinstance(policy, Policy):
        raise ValueError(
            f"combine takes policies, got {method!r:.100}. Give the name of a method, or a Policy. A method "
            "that chooses by an object of its own cannot be combined."
        )
    if level == "epoch" and policy.fixed_subset is not None:
        policy = replace(policy, final=None)
    if policy.level != level:
        hint = ""
        if policy.level == "static":
            hint = " Score first, and combine recipes.fixed(subset)."
        elif policy.level == "epoch+batch":
            hint = " It is a combination already."
        elif level == "epoch":
            hint = " Give the method of level epoch first, the one of level batch second."
        raise ValueError(
            f"combine({level}=...) must be a method of level {level}, got {policy.name} of level "
            f"{policy.level}.{hint}"
        )
    if policy.assemble:
        raise ValueError(
            f"combine takes no method with assemble=True, got {policy.name}: it fills its batches itself. "
            "Leave out assemble."
        )
    if policy.proxy:
        raise ValueError(
            f"combine takes no method with a proxy, got {policy.name}: only its passes run the narrow view. "
            "Use dynams, the same method without a proxy."
        )
    if level == "batch" and policy.source not in ("none", "training"):
        raise ValueError(
            f"combine(batch=...) must be a method that observes training or nothing, got {policy.name} with "
            f"source={policy.source!r}."
        )
    return policy
