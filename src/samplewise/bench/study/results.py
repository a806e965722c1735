"""`Results`: what the rows of a study say: the ladder, every method beside it, and the verdicts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Literal

import numpy as np

from samplewise.bench.best import lower_is_better
from samplewise.bench.judge import Differences, Ladder, Verdict, judge, nearest_below
from samplewise.bench.study.answers import Answered, answered
from samplewise.bench.study.axes import Axis, held, ladder_on, value
from samplewise.bench.study.cache import Row
from samplewise.bench.study.jobs import FULL, STOPPED, TUNING_SEED
from samplewise.bench.study.plan import Plan
from samplewise.bench.study.published import Published
from samplewise.bench.study.spec import delta_of

__all__ = ["Line", "Results", "results_of"]

Kind = Literal["ladder", "control", "method"]


@dataclass(frozen=True)
class Line:
    """A method, a control or a rung, over its finished seeds. Costs are in shares of full training."""

    name: str
    kind: Kind
    epochs: int
    seeds: int
    lr: float
    results: Mapping[str, tuple[float, float | None]]
    """Mean and standard deviation over seeds of each test result after the last epoch; None with one seed."""
    best: Mapping[str, tuple[float, float | None]]
    """The same after the epoch that validation chooses; empty if it was not tested."""
    cost: float
    bare_cost: float
    """Without the scoring run."""
    seconds: float
    overhead: float
    """The share of the wall clock that scoring and selecting took."""
    cost_spread: float | None = None
    """Standard deviation of the cost over seeds; None with one seed."""
    exact: int | None = None
    """The epochs of full training that are the exact control."""
    verdict: Verdict | None = None
    why: str = ""
    """Why there is no verdict."""
    beside: Mapping[str, Verdict] = field(default_factory=dict)
    """Verdicts on other results and other costs, by the text of their axis. They are descriptive."""
    curve: tuple[tuple[float, float], ...] = ()
    """Cost and validation result after each tested epoch, the mean over seeds."""


@dataclass(frozen=True)
class Results:
    """All lines of a study, and what its ladder says about the task."""

    name: str
    question: str
    axis: Axis
    delta: float
    epochs: int
    n: int
    seeds: int
    tuned: bool
    tuning_cost: float
    """Cost of the runs that chose learning rates, in full trainings. It is not charged."""
    lines: tuple[Line, ...]
    missing: int
    """Runs that have not finished."""
    gains: bool | None
    """Whether the last third of full training gains at least delta; None without a whole ladder."""
    enough: int | None
    """The shortest rung whose mean test result is within delta of that of full training, in epochs."""
    machines: tuple[str, ...]
    task: str
    names: Mapping[str, str] = field(default_factory=dict)
    """What a method is called, by its text."""
    claims: tuple[Answered, ...] = ()
    published: tuple[Published, ...] = ()
    """Numbers of papers beside ours. They decide nothing."""

    def of(self, kind: Kind) -> tuple[Line, ...]:
        """The lines of one kind."""
        return tuple(line for line in self.lines if line.kind == kind)

    def shown(self, method: str) -> str:
        """What tables and pictures call a method: its name, or its text."""
        return self.names.get(method, method)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict of every method that has one."""
        return {line.name: line.verdict for line in self.of("method") if line.verdict is not None}

    @property
    def about_the_task(self) -> str:
        """What the ladder says about the task, in a sentence."""
        if self.gains is None and not self.missing:
            return f"A run of full training diverged: its {self.axis.metric} is not finite. So no verdicts."
        if self.gains is None:
            return "The ladder is not finished, so there are no verdicts yet."
        unit = f"{self.delta:g} of {self.axis.metric}"
        if self.gains:
            return f"Full training still gains at least {unit} in its last third."
        return (
            f"Training too long: full training gains less than {unit} in its last third, and "
            f"{self.enough} of {self.epochs} epochs reach the same. Here every method that trains less looks "
            "good."
        )


def results_of(plan: Plan, name: str, question: str, task: str) -> Results:
    """Summarise the rows of a study."""
    spec = plan.spec
    axis = Axis(spec.metric, spec.at, "cost", spec.sign)
    rungs = plan.ladder()
    seeds = [s for s in range(spec.seeds) if all(plan.row(FULL, e, s) for e in rungs)]
    ladder = ladder_on(plan, axis, seeds) if len(seeds) > 0 else None
    judged = {method: _complete(plan, method, seeds) for method in plan.judged}
    lines = [_line(plan, FULL, epochs, "ladder") for epochs in rungs]
    found = {method: _line(plan, method, plan.epochs(method), _kind(plan, method)) for method in plan.judged}
    stopped = _stopped(plan, found)
    lines += [line for line in found.values() if line is not None] + ([stopped] if stopped else [])
    verdicts = _verdicts(plan, axis, ladder, seeds, judged)
    others = [a for a in _other_axes(plan, axis) if seeds]
    beside = {str(a): _verdicts(plan, a, ladder_on(plan, a, seeds), seeds, judged) for a in others}
    done = [
        replace(
            line,
            exact=plan.exact(line.name) if line.kind != "ladder" and line.name != STOPPED else None,
            verdict=verdicts.get(line.name),
            why="" if line.kind == "ladder" or line.name in verdicts else _why(plan, line, ladder, judged),
            beside={text: part[line.name] for text, part in beside.items() if line.name in part},
        )
        for line in lines
        if line is not None
    ]
    unit = plan.unit() or 1.0
    rows = list(plan.rows)
    tuning = [row["cost"] for row in rows if spec.tune and row["seed"] >= TUNING_SEED]
    return Results(
        name=name,
        question=question,
        axis=axis,
        delta=spec.margin,
        epochs=spec.epochs,
        n=rows[0]["n"] if rows else 0,
        seeds=spec.seeds,
        tuned=spec.tune,
        tuning_cost=sum(tuning) / (unit * spec.epochs),
        lines=tuple(done),
        missing=sum(1 for _ in plan.missing()),
        gains=ladder.gains_at_the_end(spec.margin, rungs.index(spec.epochs)) if ladder else None,
        enough=_enough(plan, ladder) if ladder else None,
        machines=tuple(dict.fromkeys(_machine(row) for row in rows)),
        task=task,
        names=spec.names,
        claims=answered(plan, axis, ladder, seeds),
    )


def _kind(plan: Plan, method: str) -> Kind:
    return "control" if method in plan.spec.control_methods else "method"


def _complete(plan: Plan, method: str, seeds: list[int]) -> list[int]:
    """The seeds that have the run of a method and of its exact control."""
    exact, epochs = plan.exact(method), plan.epochs(method)
    return [s for s in seeds if exact and plan.row(method, epochs, s) and plan.row(FULL, exact, s)]


def _verdicts(
    plan: Plan, axis: Axis, ladder: Ladder | None, seeds: list[int], judged: Mapping[str, list[int]]
) -> dict[str, Verdict]:
    """The verdicts on an axis. Methods are one family of tests; the controls are another one."""
    if ladder is None:
        return {}
    found: dict[str, dict[str, Differences]] = {"method": {}, "control": {}}
    for method, mine in judged.items():
        differences = _differences(plan, axis, ladder, seeds, method, mine)
        if differences is not None:
            found[_kind(plan, method)][method] = differences
    early = _early(plan, axis, ladder, seeds)
    if early is not None:
        found["control"][STOPPED] = early
    delta = plan.spec.margin if axis.metric == plan.spec.metric else delta_of(axis.metric) or plan.spec.margin
    return judge(found["method"], delta) | judge(found["control"], delta)


def _differences(
    plan: Plan, axis: Axis, ladder: Ladder, seeds: list[int], method: str, mine: list[int]
) -> Differences | None:
    """A method minus its two controls; None if it lies outside the ladder or has no finite result."""
    exact = _exact_on(plan, axis, ladder, method, mine)
    against: list[tuple[float, float]] = []
    for seed in mine:
        row, control = plan.row(method, plan.epochs(method), seed), plan.row(FULL, exact or 0, seed)
        if row is None or control is None or held(row, axis.at) is None:
            return None
        own, cost, place = value(row, axis), float(row[axis.cost]), seeds.index(seed)
        if not np.isfinite(own) or not ladder.covers(place, cost):
            return None
        against.append((own - ladder.at(place, cost), own - value(control, axis)))
    return Differences(*np.array(against).T) if against else None


def _exact_on(plan: Plan, axis: Axis, ladder: Ladder, method: str, mine: list[int]) -> int | None:
    """The epochs of the exact control of a method by the cost of the axis.

    By another cost than the one that decides, it is the nearest below of the lengths that every seed has.
    """
    if axis.cost == "cost":
        return plan.exact(method)
    costs = [row[axis.cost] for row in plan.judged_rows(method, plan.epochs(method)) if row["seed"] in mine]
    if not costs:
        return None
    unit = float(np.median(ladder.cost[-1])) / plan.ladder()[-1]
    known = {row["epochs"] for row in plan.rows if row["method"] == FULL}
    shared = [e for e in known if all(plan.row(FULL, e, seed) for seed in mine)]
    return nearest_below({e: unit * e * (1 - 1e-9) for e in shared}, median(costs))


def _early(plan: Plan, axis: Axis, ladder: Ladder, seeds: list[int]) -> Differences | None:
    """Full training stopped at its best epoch, minus the ladder at the cost up to it."""
    differences = []
    for place, seed in enumerate(seeds):
        row = plan.row(FULL, plan.spec.epochs, seed)
        if row is None or not row.get("best") or axis.cost not in ("cost", "seconds"):
            return None
        own, cost = value(row, replace(axis, at="best")), float(row["best"][axis.cost])
        if not np.isfinite(own) or not ladder.covers(place, cost):
            return None
        reference = ladder.at(place, cost)
        below = ladder.test[ladder.cost[:, place] <= cost, place][-1]
        differences.append((own - reference, own - float(below)))
    return Differences(*np.array(differences).T) if differences else None


def _other_axes(plan: Plan, axis: Axis) -> Iterable[Axis]:
    """The descriptive views: other results, the other epoch, other costs."""
    row = next((row for row in plan.rows if row["method"] == FULL), None)
    if row is None:
        return
    for metric in row["test"]:
        if metric != axis.metric:
            sign = -1 if lower_is_better(metric) else 1
            yield Axis(metric, axis.at, "cost", sign)
    if row.get("best"):
        yield replace(axis, at="best" if axis.at == "last" else "last")
    yield replace(axis, cost="cost_without_scoring")
    yield replace(axis, cost="seconds")


def _why(plan: Plan, line: Line, ladder: Ladder | None, judged: Mapping[str, list[int]]) -> str:
    if ladder is None:
        return "the ladder is not finished, or a run of full diverged"
    if line.exact is None and line.name in judged and plan.exact(line.name) is None:
        return "cheaper than the first rung"
    if not np.isfinite(line.results.get(plan.spec.metric, (float("nan"), None))[0]):
        return "a run diverged"
    unit = float(ladder.cost[-1].mean() / plan.ladder()[-1] * plan.spec.epochs)
    if line.cost * unit < ladder.cost[0].max():
        return "cheaper than the first rung"
    if line.cost * unit > ladder.cost[-1].min():
        return "dearer than the last rung"
    return "its runs are not finished"


def _enough(plan: Plan, ladder: Ladder) -> int:
    """The shortest rung whose mean test result is within delta of that of full training or above."""
    means, rungs = ladder.test.mean(axis=1), plan.ladder()
    goal = means[rungs.index(plan.spec.epochs)] - plan.spec.margin
    return next(e for e, mean in zip(rungs, means, strict=True) if mean >= goal)


def _line(plan: Plan, method: str, epochs: int, kind: Kind) -> Line | None:
    rows = plan.judged_rows(method, epochs)
    unit = plan.unit()
    if not rows or unit is None:
        return None
    whole = unit * plan.spec.epochs
    full = [r for s in range(plan.spec.seeds) if (r := plan.row(FULL, plan.spec.epochs, s))]
    second = fmean(r["seconds"] for r in full) if full else float("nan")
    return Line(
        name=f"full, {epochs} epoch{'s' * (epochs > 1)}" if kind == "ladder" else method,
        kind=kind,
        epochs=epochs,
        seeds=len(rows),
        lr=rows[0]["lr"],
        results=_spread(rows, lambda row: row["test"]),
        best=_spread([row for row in rows if row.get("best")], lambda row: row["best"]["test"]),
        cost=fmean(row["cost"] for row in rows) / whole,
        bare_cost=fmean(row["cost_without_scoring"] for row in rows) / whole,
        seconds=fmean(row["seconds"] for row in rows) / second,
        overhead=fmean(row["overhead"] for row in rows),
        cost_spread=_deviation([row["cost"] / whole for row in rows]),
        curve=_curve(rows, whole),
    )


def _stopped(plan: Plan, found: Mapping[str, Line | None]) -> Line | None:
    """The line of full training that stops at its best epoch."""
    rows = [row for row in plan.judged_rows(FULL, plan.spec.epochs) if row.get("best")]
    unit = plan.unit()
    if not rows or unit is None or not plan.spec.controls:
        return None
    best = _spread(rows, lambda row: row["best"]["test"])
    costs = [row["best"]["cost"] / (unit * plan.spec.epochs) for row in rows]
    cost = fmean(costs)
    seconds = fmean(row["best"]["seconds"] for row in rows) / fmean(row["seconds"] for row in rows)
    epochs = round(fmean(row["best"]["epoch"] for row in rows))
    return Line(
        STOPPED,
        "control",
        epochs,
        len(rows),
        rows[0]["lr"],
        best,
        best,
        cost,
        cost,
        seconds,
        rows[0]["overhead"],
        _deviation(costs),
    )


def _spread(
    rows: list[Row], part: Callable[[Row], Mapping[str, float]]
) -> dict[str, tuple[float, float | None]]:
    """Mean and standard deviation of every result that all rows have."""
    if not rows:
        return {}
    values = {name: [part(row).get(name, float("nan")) for row in rows] for name in part(rows[0])}
    return {name: (float(np.mean(found)), _deviation(found)) for name, found in values.items()}


def _deviation(values: list[float]) -> float | None:
    """Standard deviation over seeds; None with one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _curve(rows: list[Row], whole: float) -> tuple[tuple[float, float], ...]:
    """Mean cost in shares of full training and mean validation result, at the epochs of all rows."""
    shared = set.intersection(*({point[0] for point in row["curve"]} for row in rows))
    at = {e: [p for row in rows for p in row["curve"] if p[0] == e] for e in sorted(shared)}
    return tuple((fmean(p[1] for p in ps) / whole, fmean(p[3] for p in ps)) for ps in at.values())


def _machine(row: Row) -> str:
    about = row["machine"]
    return f"{about['cpu']}, {about['cores']} cores, {about['device']}"
