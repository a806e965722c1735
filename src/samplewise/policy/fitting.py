"""Which fields of a `Policy` fit together."""

from typing import Any

from samplewise.schedules import Schedule
from samplewise.schedules.parts import parts

__all__ = ["as_tuple", "refuse_misfits"]


def as_tuple(given: Any) -> tuple[Any, ...]:
    """One part or several, as a tuple."""
    return given if isinstance(given, tuple) else (given,)


def refuse_misfits(policy: Any) -> None:
    """Raise for fields of a `Policy` that do not fit together."""
    if not all(map(callable, policy.signals)):
        raise ValueError(f"Policy.signal must be functions such as signals.loss, got {policy.signal!r}.")
    count = len(as_tuple(policy.signal))
    if (policy.source == "none") != (not count):
        raise ValueError(
            "Policy.source must be 'none' exactly when there is no signal, got "
            f"{policy.source!r} with {count} signals. Give a signal and the source of its forwards, or "
            "neither."
        )
    if policy.signals and policy.tracker is None:
        raise ValueError(
            "Policy.tracker must be given when there is a signal, got None. Use trackers.Last()."
        )
    if policy.refresh is not None and policy.source != "training+pass":
        raise ValueError(f"Policy.refresh needs source='training+pass', got {policy.source!r}.")
    if policy.final is not None and (policy.picker is None or policy.batch_picker is not None):
        raise ValueError(
            "a static Policy (final=...) must have a picker and no batch_picker. Give picker=... alone."
        )
    if policy.final == 0 and policy.source == "training":
        raise ValueError(
            "Policy.final must be at least 1 with source='training', got 0: nothing is observed before "
            "epoch 0. Use source='pass' or a later epoch."
        )
    if policy.final is not None and (
        policy.every != 1 or any(isinstance(p, Schedule) for p in parts(policy))
    ):
        raise ValueError(
            "a static Policy (final=...) chooses once, so it takes no `every` and no schedules. "
            "Give plain numbers."
        )
    if policy.proxy and (policy.source != "pass" or policy.batch_picker is not None):
        raise ValueError(
            f"Policy.proxy needs source='pass' and no batch_picker, got source={policy.source!r} and "
            f"batch_picker={policy.batch_picker}."
        )
    rows = policy.batch_picker
    if policy.assemble and (rows is None or not rows.one_by_one or policy.picker is not None):
        raise ValueError(
            "Policy.assemble needs batch_picker=pickers.Accepted(...) and no picker, got "
            f"batch_picker={rows} and picker={policy.picker}."
        )
    if bool(as_tuple(policy.batch_signal)) != (policy.batch_tracker is not None) or (
        policy.batch_tracker is not None and (policy.tracker is None or len(policy.pickers) < 2)
    ):
        raise ValueError(
            "Policy.batch_signal and batch_tracker must come together, beside signal, tracker and two "
            f"pickers, got {policy.batch_signal!r} and {policy.batch_tracker}. With one signal for all, give "
            "signal and tracker alone."
        )
    if policy.final is None and policy.weighting != "none":
        raise ValueError(
            f"Policy.weighting={policy.weighting!r} is for static coresets. Give final=... as well."
        )
    if policy.token_choice is not None and (policy.pickers or policy.signals or policy.final is not None):
        raise ValueError(
            "Policy.token_choice must stand alone, got a picker or a signal beside it: it chooses tokens of "
            "whole batches. Leave out the others."
        )
