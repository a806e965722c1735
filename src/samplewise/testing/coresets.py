"""Laws of the static level: when a score is final, and what a coreset is made of."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from samplewise.coresets.recorder import Recorder
from samplewise.coresets.table import ScoreTable, Subset
from samplewise.policy import Policy, Recipe
from samplewise.selector import Selector
from samplewise.testing.law import differs, ensure, law
from samplewise.testing.runs import run
from samplewise.testing.trace import Trace, build, keeps

__all__ = ["a_coreset_is_the_same_from_everywhere", "a_score_is_final_in_time", "coreset_budget_is_met"]


def _k(m: int, keep: float) -> int:
    """METHODS 0.1, written again."""
    return m - math.floor((1 - keep) * m + 1e-9)


def _static(recipe: Recipe) -> bool:
    return recipe.level == "static"


def _chooses_share(recipe: Recipe) -> bool:
    """Whether it chooses a share by scores of the training, and not by what was stored before."""
    return _static(recipe) and bool(keeps(recipe)) and getattr(build(recipe, 8), "fixed_subset", None) is None


@law
def coreset_budget_is_met(recipe: Recipe) -> None:
    """A coreset has exactly the share asked for, in total and in every class, and weights above 0."""
    if not _chooses_share(recipe):
        return
    for n in (24, 23):
        trace = Trace(n)
        labels = torch.tensor([0] * (n - 10) + [1] * 7 + [2] * 3)
        for keep in (0.2, 0.9, 1.0):
            history = run(build(recipe, n, keep), trace, labels=labels)
            selector = history.selector
            _check(selector.subset(), n, _k(n, keep), f"at keep={keep}")
            if keep == 1:
                ensure(selector.subset().weights is None, "keeping everything weighs samples")
                continue
            if "balance" in recipe.signature.parameters:
                subset = selector.subset(balance=True)
                _check(subset, n, _k(n, keep), f"at keep={keep} by class")
                for label, size in enumerate((n - 10, 7, 3)):
                    got, fair = int((labels[subset.ids] == label).sum()), _k(n, keep) * size / n
                    ensure(
                        abs(got - fair) < 1,
                        f"class {label} got {got} at keep={keep}, its share is {fair:.2f}",
                    )


def _check(subset: Subset, n: int, k: int, where: str) -> None:
    ids, weights = subset.ids, subset.weights
    ensure(len(ids) == k, f"{len(ids)} of {n} kept {where}, not {k}")
    ensure(bool((ids.diff() > 0).all()) and 0 <= int(ids[0]) <= int(ids[-1]) < n, f"ids do not rise {where}")
    if weights is not None:
        good = torch.isfinite(weights) & (weights > 0)
        ensure(len(weights) == k and bool(good.all()), f"weights are not finite and positive {where}")


@law
def a_score_is_final_in_time(recipe: Recipe) -> None:
    """All samples train until the score is final. From then on the plan is the coreset.

    Before that `subset()` raises and says what is missing. Later observations change nothing.
    """
    if not _static(recipe):
        return
    trace = Trace(n=15, epochs=6)
    policy = build(recipe, trace.n, window=3)
    selector = Selector(policy, trace.n, epochs=trace.epochs)
    (final,) = selector.final.values()
    ensure(0 <= final <= trace.epochs, f"it is final before epoch {final} of {trace.epochs}")
    for epoch in range(trace.epochs):
        if epoch < final:
            try:
                selector.subset()
            except ValueError as error:
                ensure("missing" in str(error), f"an early subset is refused without saying why: {error}")
            else:
                ensure(False, f"subset() gives a coreset before epoch {epoch}, but it is final at {final}")
        if selector.pass_due(epoch):
            ensure(epoch == final, f"a pass is wanted before epoch {epoch}, but it is final at {final}")
            selector.observe(selector.pass_ids(epoch), trace.outputs(selector.pass_ids(epoch), epoch), "pass")
        plan = selector.plan(epoch)
        if epoch < final:
            ensure(
                len(plan) == trace.n and plan.weights is None, f"epoch {epoch} does not train on everything"
            )
        else:
            ensure(not differs(_told(plan), _told(selector.subset())), f"epoch {epoch} plans no coreset")
        selector.observe(plan.ids, trace.outputs(plan.ids, epoch))
    selector.set_epoch(trace.epochs)
    ensure(
        selector.pass_due(trace.epochs) == (final == trace.epochs and "pass" in policy.source),
        "a pass too many",
    )


def _told(subset: Subset) -> tuple[Any, ...]:
    return (subset.ids, subset.weights, subset.weighting)


@law
def a_coreset_is_the_same_from_everywhere(recipe: Recipe) -> None:
    """A selector, its state, its table, and a recorder of several methods make the same coreset."""
    if not _chooses_share(recipe):
        return
    trace = Trace(n=20, epochs=6)
    policy = build(recipe, trace.n, keep=0.4, window=3)
    if not isinstance(policy, Policy):
        return
    history = run(policy, trace, labels=trace.targets)
    wanted = history.selector.subset()
    again = Selector(policy, trace.n, epochs=trace.epochs, labels=trace.targets)
    again.load_state_dict(history.selector.state_dict())
    ensure(not differs(_told(again.subset()), _told(wanted)), "a loaded state makes another coreset")
    table: ScoreTable = history.selector.table()
    vectors: Mapping[str, Any] = {name: c for name, c in table.columns.items() if c.ndim != 1}
    ensure(not vectors, f"the table holds vectors: {sorted(vectors)}")
    ensure(not differs(_told(table.subset(recipe.name)), _told(wanted)), "the table makes another coreset")
    recorder = Recorder({"mine": policy, "other": "el2n", "third": "entropy"})
    several = run(recorder, trace, labels=trace.targets)
    ensure(
        not differs(_told(several.selector.subset("mine")), _told(wanted)), "a recorder makes another coreset"
    )
    alone, among = table.columns, several.selector.table().columns
    for name, column in alone.items():
        renamed = name.replace(recipe.name, "mine", 1)
        ensure(not differs(column, among[renamed]), f"a recorder gives other scores in column {name}")
