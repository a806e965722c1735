"""Laws of the budget: a recipe keeps as many samples as its picker declares."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from samplewise.pickers import Picker
from samplewise.policy import Policy, Recipe
from samplewise.schedules import Periods
from samplewise.testing.law import ensure, law
from samplewise.testing.runs import Event, History, run
from samplewise.testing.trace import Trace, build, keeps

__all__ = ["budget_is_met", "budget_is_met_by_class", "counts_are_met", "long_enough"]


def _k(m: int, keep: float, least: int = 0) -> int:
    """METHODS 0.1, written again: m - floor((1 - keep) m), at least `least` of m."""
    return min(m, max(least, m - math.floor((1 - keep) * m + 1e-9)))


def averaged(policy: Any) -> Periods | None:
    """The schedule of a policy whose keep is the average over the training, the warm-up included."""
    keep = policy.picker.keeps if isinstance(policy, Policy) and policy.picker is not None else None
    return keep if isinstance(keep, Periods) else None


def long_enough(policy: Any, epochs: int) -> int:
    """The epochs of a toy training: three times as many if a warm-up counts towards a small budget."""
    return epochs if averaged(policy) is None else 3 * epochs


@law
def budget_is_met(recipe: Recipe) -> None:
    """With keep=0.2 and 0.9 the share kept is that one, exactly or as its picker declares."""
    for n, batch, epochs, period in ((24, 11, 8, 3), (15, 6, 5, 2)):
        for keep in (0.2, 0.9):
            policy = build(recipe, n, keep, period=period)
            trace = Trace(n, long_enough(policy, epochs))
            history = run(policy, trace, batch=batch)
            if isinstance(policy, Policy):
                _asked(recipe, policy, keep, trace.epochs)
                counts_are_met(policy, history, trace)
            elif keeps(recipe) and recipe.toy is None:
                for event in history.of("plan" if recipe.level == "epoch" else "step"):
                    least = 0 if event.kind == "plan" else 2
                    _exact(event, _k(len(event.ids) if least else n, keep, least))


def _asked(recipe: Recipe, policy: Policy, keep: float, epochs: int) -> None:
    """The share that was asked for must be that of a picker in some epoch."""
    if recipe.toy is not None or not keeps(recipe):
        return
    if (schedule := averaged(policy)) is not None:
        asked = schedule.keep
        ensure(asked == keep, f"keep={keep} was asked for, but the average is to be {asked}")
        return
    for level in ("picker", "batch_picker"):
        if getattr(policy, level) is not None:
            parts = [getattr(policy.at(epoch, epochs), level) for epoch in range(epochs)]
            shares = [part.share for part in parts if part.keeps is not None]
            near = any(abs(share - keep) < 1e-9 for share in shares)
            ensure(near or not shares, f"keep={keep} was asked for, but {level} keeps {sorted(set(shares))}")


def counts_are_met(policy: Policy, history: History, trace: Trace) -> None:
    """Raise unless every plan and every step of a run kept what the pickers declare."""
    if policy.level == "static":
        (final,) = history.selector.final.values()
        size, _ = policy.picker.size(trace.n) if policy.picker is not None else (trace.n, True)
        if policy.picker is not None and policy.picker.keeps is not None:
            size = _k(trace.n, policy.picker.share)
        for event in history.of("plan"):
            _exact(event, trace.n if event.epoch < final else size)
        return
    if (schedule := averaged(policy)) is not None:
        total = sum(len(event.ids) for event in history.of("plan"))
        wanted = schedule.keep * trace.epochs * trace.n
        ensure(abs(total - wanted) < schedule.period, f"{total} were planned in all, the budget is {wanted}")
    low = _LowSet(policy, trace)
    shares = [1.0]
    at = [policy.sized(trace.n).at(epoch, trace.epochs) for epoch in range(trace.epochs)]
    for event in history.events:
        picker = at[event.epoch - event.epoch % policy.every].picker
        if event.kind == "plan" and picker is not None:
            _by_rule(picker, event, trace.n, 0, low)
        elif event.kind == "plan":
            _exact(event, trace.n)
        elif event.kind == "step":
            finest = at[event.epoch].batch_picker
            m = len(event.ids)
            if finest is not None and finest.counts == "halving":
                halves = [1 / d for d in (1, 2, 4, 8, 16) if len(event.rows) == _k(m, 1 / d, 2)]
                ensure(bool(halves), f"{len(event.rows)} of {m} rows are no half, quarter, ... of them")
                # A short batch fits several shares.
                fitting = [share for share in halves if share <= shares[-1]]
                ensure(bool(fitting), f"the share grew back to {min(halves)} in epoch {event.epoch}")
                shares.append(max(fitting))
            elif finest is not None:
                _by_rule(finest, event, m, 2, low)
            else:
                _exact(event, m)


def _by_rule(picker: Picker, event: Event, m: int, least: int, low: "_LowSet") -> None:
    if picker.counts == "exact":
        _exact(event, _k(m, picker.share, least))
    elif picker.counts == "least":
        wanted = _k(m, picker.share)
        ensure(
            len(event.chosen) >= wanted,
            f"{len(event.chosen)} of {m} kept in epoch {event.epoch}, the least is {wanted}",
        )
    elif picker.counts in ("below_mean", "below_mean_at_random"):
        low.check(picker.counts == "below_mean", event, picker.share)
    else:
        most, exact = picker.size(m, least)
        fits = len(event.rows) == most if exact else len(event.rows) <= most
        ensure(fits, f"{len(event.rows)} of {m} kept in epoch {event.epoch}, it declares {most}")


class _LowSet:
    """The last loss of every sample in plain Python: which were below the mean, and how many stayed."""

    def __init__(self, policy: Policy, trace: Trace) -> None:
        self.trace, self.last = trace, [math.nan] * trace.n

    def check(self, exact: bool, event: Event, keep: float) -> None:
        seen = [loss for loss in self.last if not math.isnan(loss)]
        mean = math.fsum(seen) / len(seen) if seen else 0.0
        low = {i for i, loss in enumerate(self.last) if loss < mean}
        kept = set(event.ids.tolist())
        where = f"in epoch {event.epoch}"
        ensure(
            not (set(range(self.trace.n)) - low - kept), f"a sample not below the mean was dropped {where}"
        )
        wanted = len(low) if keep == 1 else min(len(low), max(1, int(keep * len(low) + 1e-9)))
        if exact:
            ensure(len(low & kept) == wanted, f"{len(low & kept)} of the {len(low)} low ones kept {where}")
        for i in kept:
            self.last[i] = float(self.trace.losses[event.epoch, i])


def _exact(event: Event, k: int) -> None:
    ensure(len(event.rows) == k, f"{len(event.rows)} of {k} kept in the {event.kind} of epoch {event.epoch}")


@law
def budget_is_met_by_class(recipe: Recipe) -> None:
    """Balanced by class, the total stays exact and each class gets its share by largest remainder."""
    labels = torch.tensor([0] * 13 + [1] * 7 + [2] * 3)
    for keep in (0.2, 0.9):
        policy = build(recipe, 23, keep, period=3)
        trace = Trace(23, long_enough(policy, 8))
        if not isinstance(policy, Policy) or policy.level == "static":
            return  # `coreset_budget_is_met` holds coresets to it
        parts: dict[str, Any] = {
            level: part.balanced(True)
            for level, part in (("picker", policy.picker), ("batch_picker", policy.batch_picker))
            if part is not None and part.counts == "exact"
        }
        if not parts:
            return
        balanced = replace(policy, **parts)
        for event in run(balanced, trace, batch=11, labels=labels).events:
            level = "batch_picker" if event.kind == "step" else "picker"
            if level in parts and event.kind != "pass":
                begun = event.epoch if event.kind == "step" else event.epoch - event.epoch % policy.every
                part = getattr(policy.sized(trace.n).at(begun, trace.epochs), level)
                pool = event.ids if event.kind == "step" else torch.arange(trace.n)
                least = 2 if event.kind == "step" else 0
                _balanced(event, labels[pool], labels[event.chosen], _k(len(pool), part.share, least))


def _balanced(event: Event, all_labels: Tensor, kept: Tensor, k: int) -> None:
    _exact(event, k)
    m = len(all_labels)
    for label in torch.unique(all_labels).tolist():
        fair = k * int((all_labels == label).sum()) / m
        got = int((kept == label).sum())
        ensure(
            abs(got - fair) < 1, f"class {label} got {got} in epoch {event.epoch}, its share is {fair:.2f}"
        )
