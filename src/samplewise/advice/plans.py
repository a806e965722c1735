"""The methods with their ways of scoring: what each does, and its row in the table."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from samplewise import recipes
from samplewise.advice.costs import Spent, Times, spent, static
from samplewise.advice.measuring import Measured, Setup
from samplewise.advice.rehearsal import CLASSES, WIDTH, Rehearsal, plain_loop, rehearse, scoring_run
from samplewise.advice.result import Row
from samplewise.loop.scoring import Scoring
from samplewise.policy import Policy

__all__ = ["Plan", "Rehearsals", "chosen", "plans_of", "row_of"]

_STEPS, _FEWEST, _MOST = 160, 4, 16
"""Steps of a rehearsal, about, and the batches of its epochs."""
_ENDS = 2.5, 97.5
_NEVER = (ValueError, TypeError, RuntimeError, LookupError)
"""What a method raises that cannot be built or does not fit the stand-in task."""


@dataclass(frozen=True)
class Plan:
    """A method with one way of scoring.

    Args:
        name: of the method.
        policy: a `Policy`, or a method of another kind.
        option: of scoring, as it is measured; empty if it scores nothing.
        shown: the option in tables.
        rehearsal: what it does; None for static methods.
        kept: of static methods: the share of the coreset, and the epochs of the scoring run.
    """

    name: str
    policy: Any
    option: str = ""
    shown: str = ""
    rehearsal: Rehearsal | None = None
    kept: tuple[float, int] = (1.0, 0)


class Rehearsals:
    """Runs on the stand-in task, with batches of the user's size.

    Args:
        n: number of samples.
        batch_size: of a step.
        epochs: length of the training.
    """

    def __init__(self, n: int, batch_size: int, epochs: int) -> None:
        batches = min(_MOST, max(_FEWEST, _STEPS // epochs))
        self.n, self.epochs, self.sizes = n, epochs, (min(n, batches * batch_size), batch_size)
        self.of(recipes.full())  # the first run is slower
        self.full, self.plain = self.of(recipes.full()), plain_loop(epochs, *self.sizes)

    def of(self, policy: Any, every: int = 1) -> Rehearsal:
        """The run of a method that is not static."""
        return rehearse(policy, self.epochs, *self.sizes, Scoring(every=every))


def chosen(methods: Iterable[Any] | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The methods by name, `full` among them, and the reasons why others are left out.

    Args:
        methods: names or policies; None: all registered ones that can be built with their defaults.
    """
    left_out: dict[str, str] = {}
    found: dict[str, Any] = {"full": recipes.full()}
    if methods is not None:
        if isinstance(methods, str):
            raise TypeError(
                f"methods must be a list of methods, got the text {methods!r}. Write [{methods!r}]."
            )
        for method in methods:
            name = method if isinstance(method, str) else getattr(method, "name", type(method).__name__)
            found[name] = recipes.parse(method) if isinstance(method, str) else method
        return found, left_out
    for name, recipe in recipes.all().items():
        try:
            found[name] = recipe()
        except _NEVER as error:
            left_out[name] = str(error).removeprefix(f"{name}: ").partition(". ")[0]
    return found, left_out


def plans_of(
    policies: Mapping[str, Any], options: Mapping[str, str], rehearsals: Rehearsals, left_out: dict[str, str]
) -> Iterator[Plan]:
    """Each method with each way of scoring. The reasons for what is left out are entered.

    Args:
        policies: by name.
        options: the ways of scoring that are measured, with their names in tables.
        rehearsals: of the methods.
        left_out: is filled.
    """
    for name, policy in policies.items():
        own = not isinstance(policy, Policy)
        try:
            if not own and policy.proxy:
                left_out[name] = "it also trains a narrow view of the model, which is not measured"
            elif not own and policy.level == "static":
                kept = scoring_run(policy, rehearsals.epochs, *rehearsals.sizes)
                yield Plan(name, policy, kept=kept)
            elif own or not policy.scores:
                yield Plan(name, policy, rehearsal=rehearsals.of(policy))
            else:
                yield from _scored(name, policy, options, rehearsals)
        except _NEVER as error:
            left_out[name] = str(error).partition("\n")[0]


def _scored(name: str, policy: Policy, options: Mapping[str, str], rehearsals: Rehearsals) -> Iterator[Plan]:
    rehearsal = rehearsals.of(policy)
    for option, shown in options.items():
        yield Plan(name, policy, option, shown, rehearsal)
    if policy.batch_picker is not None:
        yield Plan(name, policy, "full", "every=2", rehearsals.of(policy, every=2))


def row_of(
    plan: Plan, times: Times, measured: Measured, ordinary: Spent, rehearsals: Rehearsals, setup: Setup
) -> Row:
    """The row of a method.

    Args:
        plan: the method with its scoring.
        times: what was measured.
        measured: what forward returns and keeps.
        ordinary: an epoch of ordinary training.
        rehearsals: of all methods.
        setup: what was measured.
    """
    if plan.rehearsal is None:
        share, epochs = plan.kept
        found = static(times, share, epochs / rehearsals.epochs, ordinary)
        memory, largest = None, float(setup.batch_size)
    else:
        found = spent(times, plan.rehearsal, rehearsals.plain, plan.option)
        classes, width = measured.widths
        widths = {CLASSES: classes or CLASSES, WIDTH: width or WIDTH}
        memory = plan.rehearsal.bytes_a_sample(widths) * setup.n
        largest = max(work.trained for work in plan.rehearsal.work)
    saved = 1 - found.total / ordinary.total
    low, high = np.percentile(saved[1:], _ENDS)
    parts = ("loading", "training", "scoring", "selecting", "scoring_run")
    needs = _needs(plan, setup)
    given = {*measured.fields, "pass", "scoring run"} | ({"labels"} if setup.labels is not None else set())
    return Row(
        method=plan.name,
        scoring=plan.shown,
        seconds=float(found.total[0]),
        saved=float(saved[0]),
        low=float(low),
        high=float(high),
        parts={part.replace("_", " "): float(getattr(found, part)[0]) for part in parts},
        trained=found.trained,
        takes_back=found.takes_back(ordinary),
        assumed=not _known(plan.policy, rehearsals),
        state_bytes=memory,
        step_bytes=round(measured.activations * largest / setup.batch_size),
        needs=needs,
        lacks=tuple(need for need in needs if need not in given),
    )


def _needs(plan: Plan, setup: Setup) -> tuple[str, ...]:
    policy = plan.policy
    if not isinstance(policy, Policy):
        return ()
    found = [name for name in policy.needs if name != "loss"]
    found += ["labels"] * (policy.by_class or (plan.option == "at" and setup.labels is not None))
    found += ["pass"] * ("pass" in policy.source and policy.level != "static")
    return (*found, *["scoring run"] * bool(plan.kept[1]))


def _known(policy: Any, rehearsals: Rehearsals) -> bool:
    """Whether the number of rows is fixed by the method, and does not depend on losses."""
    if not isinstance(policy, Policy):
        return False
    rows, batch_size = rehearsals.sizes
    middle = policy.sized(rows).at(rehearsals.epochs // 2, rehearsals.epochs)
    planned = middle.picker is None or middle.picker.size(rows)[1]
    return planned and (middle.batch_picker is None or middle.batch_picker.size(batch_size, 2)[1])
