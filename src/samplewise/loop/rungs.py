"""The ladder of cheaper scoring that a gate descends, and a trial of a rung on a batch."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import torch
from torch import nn

from samplewise.data.outputs import Batch
from samplewise.loop.scoring import Scoring, device_of
from samplewise.loop.step import Step

__all__ = ["cheaper", "faster", "settled"]

_TRIALS = 3


def cheaper(step: Step) -> Iterator[tuple[str, Scoring, float]]:
    """The next rungs: what they do, the scoring, and the part of its seconds that stays at best."""
    engine, policy, scoring = step.engine, step.policy, step.scoring
    inside = engine.memory.counts_rows
    if not (policy.scores or (inside and engine.scores_batches)):
        return
    if scoring.dtype is None:
        yield "Scoring runs in bfloat16", replace(scoring, dtype=torch.bfloat16), 0.25
    if inside and scoring.every == 1 and engine.n and policy.signals:
        yield "Scoring runs in every second epoch", replace(scoring, every=2), 0.5


def faster(step: Step, scoring: Scoring, batch: Batch) -> bool:
    """Whether scoring a batch works in this way, and takes less time than now. Both are charged."""
    now = step.scoring
    seconds: dict[torch.dtype | None, list[float]] = {now.dtype: [], scoring.dtype: []}
    begun = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for tried in (now, scoring) * (_TRIALS + 1):
                step.scoring, start = tried, settled(step.model)
                step.score(batch)
                if not step.scoring_forward.cheap:
                    step.ledger.scoring_forwards += len(batch)
                seconds[tried.dtype].append(settled(step.model) - start)
    except RuntimeError:  # an operation that has no form in this type
        return False
    finally:
        step.scoring = now
        step.ledger.seconds["scoring"] += time.perf_counter() - begun
    if any("has no effect" in str(each.message) for each in said):  # forward turns autocast off
        return False
    return median(seconds[scoring.dtype][1:]) < median(seconds[now.dtype][1:])


def settled(model: nn.Module | None) -> float:
    """The clock, once the model's device has done all that is queued."""
    device = device_of(model)
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
