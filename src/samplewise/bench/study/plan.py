"""Which runs a study needs, and which of them are missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, median

from samplewise.bench.judge import nearest_below, rungs
from samplewise.bench.methods import split
from samplewise.bench.study.cache import Row, Rows
from samplewise.bench.study.jobs import FULL, TUNING_SEED, Job
from samplewise.bench.study.spec import Spec

__all__ = ["FACTORS", "Plan"]

FACTORS = (0.5, 1.0, 2.0)
"""The factors on the learning rate that tuning tries."""


@dataclass(frozen=True)
class Plan:
    """The runs of a study. What it needs can depend on the rows that it has.

    - The ladder: `full` at every rung. It is longer if a method costs more than full training.
    - Every control and every method.
    - The exact control of each: `full` with the whole number of epochs nearest below its median cost.
    - With tuning, first the runs that choose the learning rate of each of these.
    """

    spec: Spec
    rows: Rows

    @property
    def judged(self) -> tuple[str, ...]:
        """The controls and the methods."""
        return (*self.spec.control_methods, *self.spec.methods)

    def epochs(self, method: str) -> int:
        """The epochs of a method's run, which may have its own."""
        return int(split(method)[1].get("epochs", self.spec.epochs))

    def ladder(self) -> tuple[int, ...]:
        """The rungs, in epochs of full training."""
        costs = [cost for method in self.judged if (cost := self.cost(method)) is not None]
        unit = self.unit()
        longer = unit is not None and any(cost > unit * self.spec.epochs for cost in costs)
        return rungs(self.spec.epochs, longer)

    def unit(self) -> float | None:
        """The cost of an epoch of full training; None before its first run."""
        for row in self.rows:
            if row["method"] == FULL:
                return float(row["cost"] / row["epochs"])
        return None

    def cost(self, method: str) -> float | None:
        """The median cost of a method over the seeds that have finished."""
        found = [row["cost"] for row in self.judged_rows(method, self.epochs(method))]
        return median(found) if found else None

    def exact(self, method: str) -> int | None:
        """The epochs of the exact control of a method. None if it is cheaper than one epoch."""
        cost, unit = self.cost(method), self.unit()
        if cost is None or unit is None:
            return None
        most = 2 * self.spec.epochs
        # Costs are sums of whole units. A rounding error must not cost an epoch.
        return nearest_below({e: unit * e * (1 - 1e-9) for e in range(1, most + 1)}, cost)

    def judged_rows(self, method: str, epochs: int) -> list[Row]:
        """The finished runs of the judged seeds, in order."""
        lr = self.chosen(method, epochs)
        if lr is None:
            return []
        jobs = [Job(method, epochs, seed, lr) for seed in range(self.spec.seeds)]
        return [row for job in jobs if (row := self.rows.get(job)) is not None]

    def row(self, method: str, epochs: int, seed: int) -> Row | None:
        """The finished run of a seed with the chosen learning rate."""
        lr = self.chosen(method, epochs)
        return None if lr is None else self.rows.get(Job(method, epochs, seed, lr))

    def tuning(self, method: str, epochs: int) -> list[Job]:
        """The runs that choose a learning rate."""
        seeds = range(TUNING_SEED, TUNING_SEED + self.spec.tune_seeds)
        return [Job(method, epochs, seed, lr) for lr in FACTORS for seed in seeds]

    def chosen(self, method: str, epochs: int) -> float | None:
        """The factor on the learning rate: 1 without tuning, None while its tuning has not finished.

        The best mean of the metric on the validation split wins; of equal ones the first. A factor with a
        run that diverged never wins.
        """
        if not self.spec.tune:
            return 1.0
        means: dict[float, float] = {}
        for lr in FACTORS:
            rows = [self.rows.get(job) for job in self.tuning(method, epochs) if job.lr == lr]
            if any(row is None for row in rows):
                return None
            found = [self.spec.sign * value(row, self.spec, "validation") for row in rows if row is not None]
            means[lr] = fmean(found)
        return max((lr for lr in FACTORS if means[lr] == means[lr]), key=means.__getitem__, default=1.0)

    def missing(self) -> Iterator[Job]:
        """The runs that can start now, in the order of `jobs`."""
        return (job for job in self.jobs() if self.rows.get(job) is None)

    def jobs(self) -> Iterator[Job]:
        """The runs that are known by now, in their order: seed by seed, so that a part is a whole study."""
        ladder = self.ladder()
        pairs = [(FULL, epochs) for epochs in ladder]
        pairs += [(method, self.epochs(method)) for method in self.judged]
        extra = {exact for method in self.judged if (exact := self.exact(method)) and exact not in ladder}
        extras = [(FULL, epochs) for epochs in sorted(extra)]
        if self.spec.tune:
            yield from (job for pair in pairs for job in self.tuning(*pair))
        for seed in range(self.spec.seeds):
            for method, epochs in [*pairs, *extras]:
                if self.spec.tune and (method, epochs) not in pairs and not seed:
                    yield from self.tuning(method, epochs)
                if (lr := self.chosen(method, epochs)) is not None:
                    yield Job(method, epochs, seed, lr)


def value(row: Row, spec: Spec, split: str) -> float:
    """The result of a run on a split that the study judges: at the last epoch or at the best one."""
    held = row if spec.at == "last" else row["best"]
    return float(held[split][spec.metric])
