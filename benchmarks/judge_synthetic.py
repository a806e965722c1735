"""A training that takes no time: results are drawn around known means. Studies of it can be simulated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samplewise.bench.study.cache import Row, Rows
from samplewise.bench.study.jobs import FULL, Job, digest
from samplewise.bench.study.plan import Plan
from samplewise.bench.study.results import Results, results_of
from samplewise.bench.study.spec import Spec

UNIT = 3.0
"""The cost of an epoch of full training: a forward and a backward."""


def rising(epochs: float) -> float:
    """Accuracy by the length of training: concave, and still rising at the end."""
    return float(70 - 30 * np.exp(-epochs / 6))


@dataclass(frozen=True)
class Method:
    """What a method costs, in epochs of full training, and its mean result minus that of such a training."""

    epochs: float
    effect: float = 0.0


@dataclass(frozen=True)
class Synthetic:
    """A `Trainer` whose results are a curve of the cost, plus an effect, plus normal noise.

    Args:
        methods: by text. A method that is not here costs 3/4 of full training and has no effect.
        noise: standard deviation of a run.
        curve: the mean result of `full` by its epochs.
        name: of the task; it is the seed of all results.
    """

    methods: Mapping[str, Method] = field(default_factory=dict)
    noise: float = 0.5
    curve: Callable[[float], float] = rising
    name: str = "synthetic"

    def task(self) -> dict[str, Any]:
        return {"name": self.name}

    def metrics(self) -> tuple[str, ...]:
        return ("accuracy",)

    def check(self, methods: Sequence[str]) -> None:
        pass

    def finished(self, job: Job) -> None:
        pass

    def run(self, job: Job, on_step: Callable[[float], None]) -> Row:
        method = Method(job.epochs) if job.method == FULL else self.methods.get(job.method)
        method = method or Method(0.75 * job.epochs)
        mean = self.curve(method.epochs) + method.effect
        # Randomness of a run of its own, as that of seeds of real trainings.
        key = int(digest([self.name, job.method, job.epochs, job.seed, job.lr]), 16)
        test, validation = mean + self.noise * np.random.default_rng(key).standard_normal(2)
        return row(method.epochs, float(test), float(validation))


def row(epochs: float, test: float, validation: float) -> Row:
    """What a training reports."""
    cost = UNIT * epochs
    return {
        "n": 1000,
        "cost": cost,
        "cost_without_scoring": cost,
        "seconds": cost,
        "seconds_without_scoring": cost,
        "wall": cost,
        "overhead": 0.0,
        "validation": {"accuracy": validation},
        "test": {"accuracy": test},
        "best": None,
        "curve": [],
        "machine": {"cpu": "none", "cores": 1, "device": "cpu"},
    }


class InMemory(Rows):
    """Rows without a file. Their keys are the jobs themselves: digests would take a fifth of a study."""

    def __init__(self, task: str) -> None:
        self.task, self.stale = task, 0
        self._rows = {}

    def get(self, job: Job) -> Row | None:
        return self._rows.get(job)

    def add(self, job: Job, found: Row) -> Row:
        named = {"method": job.method, "epochs": job.epochs, "seed": job.seed, "lr": job.lr}
        self._rows[job] = named | found
        return self._rows[job]


def simulated(spec: Spec, trainer: Synthetic) -> Results:
    """The results of a whole study, without files."""
    plan = Plan(spec, InMemory(digest(trainer.task())))
    while missing := list(plan.missing()):
        for job in missing:
            plan.rows.add(job, trainer.run(job, lambda progress: None))
    return results_of(plan, spec.name, spec.question, plan.rows.task)


def words(results: Results) -> dict[str, str]:
    """The verdict of each method in a word."""
    return {name: verdict.word for name, verdict in results.verdicts.items()}
