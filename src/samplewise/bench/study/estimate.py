"""What a study will take: its runs, their cost, time and memory. Nothing is trained for a result."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch

from samplewise.bench import coreset, rngstate
from samplewise.bench.folder import SCORING
from samplewise.bench.judge import rungs
from samplewise.bench.methods import chooses_coreset, split
from samplewise.bench.study import timing
from samplewise.bench.study.images import ImageTrainer
from samplewise.bench.study.jobs import FULL, Job
from samplewise.bench.study.language import LanguageTrainer
from samplewise.bench.study.plan import Plan
from samplewise.bench.study.text import TextTrainer
from samplewise.bench.study.toy import Spent, spent
from samplewise.bench.study.trainer import Trainer
from samplewise.coresets.parse import parse

__all__ = ["Estimate", "Part", "estimate", "expected"]


@dataclass(frozen=True)
class Part:
    """The missing runs of one method and one length, or the scoring runs that several methods share.

    Args:
        name: the method, with the epochs of a shorter or longer run of `full`.
        runs: how many are missing.
        cost: of each, in full trainings, without a scoring run.
        seconds: of each, tests included; None if it is not known.
        assumed: whether the cost could not be found, and is that of full training.
    """

    name: str
    runs: int
    cost: float
    seconds: float | None
    assumed: bool = False


@dataclass(frozen=True)
class Estimate:
    """What missing runs will take. Of a study, exact controls between two rungs come on top.

    Args:
        parts: the missing runs.
        scoring: the missing scoring runs of static methods. Methods that share one count it once.
        unit: the forward units of a full training; None if they are not known.
        finished: rows that are there.
        seconds: the wall clock of all missing runs, with the processes that run at the same time.
        memory: bytes that the processes take together, as this one does now.
        exact: the number of further runs that exact controls may need, at most.
    """

    parts: tuple[Part, ...]
    scoring: tuple[Part, ...]
    unit: int | None
    finished: int
    seconds: float | None
    memory: int
    exact: int = 0

    @classmethod
    def of(
        cls,
        parts: Sequence[Part],
        scoring: Sequence[Part],
        unit: int | None,
        finished: int,
        jobs: int = 1,
        exact: int = 0,
    ) -> "Estimate":
        """Add up the seconds, and read the memory of this process. `jobs` processes run at the same time."""
        known = [part.runs * part.seconds for part in (*parts, *scoring) if part.seconds is not None]
        seconds = sum(known) / jobs if len(known) == len(parts) + len(scoring) else None
        return cls(tuple(parts), tuple(scoring), unit, finished, seconds, jobs * timing.resident(), exact)

    @property
    def runs(self) -> int:
        """The number of missing runs, without scoring runs."""
        return sum(part.runs for part in self.parts)

    @property
    def cost(self) -> float:
        """Their cost in full trainings, with that of the scoring runs."""
        return sum(part.runs * part.cost for part in (*self.parts, *self.scoring))


def estimate(plan: Plan, trainer: Trainer, jobs: int = 1) -> Estimate:
    """Estimate the missing runs.

    The cost of a method is found on a toy task, see `toy.spent`. Seconds come from finished rows if there are
    some, else from a few steps of full training on the data. Your own training has none before its first row.

    Args:
        plan: of the study.
        trainer: of the study.
        jobs: processes that run at the same time.
    """
    costs = {method: _cost(method, plan) for method in plan.judged}
    ladder = rungs(plan.spec.epochs, longer=any(cost > 1 for cost in costs.values()))
    missing = _missing(plan, ladder)
    timed = _from_rows(plan) if len(plan.rows) else _from_steps(trainer)
    parts = []
    for (method, epochs), runs in Counter((job.method, job.epochs) for job in missing).items():
        found, assumed = expected(method, epochs)
        name = f"full, {epochs} epoch{'s' * (epochs > 1)}" if method == FULL else method
        cost = found.training(epochs) / plan.spec.epochs
        parts.append(Part(name, runs, cost, timed(method, epochs, found), assumed))
    between = {int(cost * plan.spec.epochs + 1e-6) for cost in costs.values()} - {0, *ladder}
    exact = len(between) * plan.spec.seeds
    unit = None
    if isinstance(trainer, ImageTrainer | TextTrainer):
        unit = 3 * len(trainer.data) * plan.spec.epochs
    return Estimate.of(parts, _scoring(plan, missing, timed), unit, len(plan.rows), jobs, exact)


Timed = Callable[[str, int, Spent], float | None]
"""Seconds of a run without its scoring run, by method, epochs and what it spends."""


def _scoring(plan: Plan, missing: Sequence[Job], timed: Timed) -> list[Part]:
    """The scoring runs: one for each seed serves all keeps of a method. Finished rows had theirs."""
    made = {method: parse(split(method)[0]) for method in plan.judged}
    leads = coreset.leaders({method: policy for method, policy in made.items() if chooses_coreset(policy)})
    wanted = {(leads[job.method], job.seed) for job in missing if job.method in leads}
    wanted -= {(leads[row["method"]], row["seed"]) for row in plan.rows if row["method"] in leads}
    parts, ordinary = [], expected(FULL, plan.spec.epochs)[0]
    for lead, runs in Counter(lead for lead, _ in sorted(wanted)).items():
        epochs = expected(lead, plan.spec.epochs)[0].scoring_epochs
        if epochs:
            served = [method for method in leads if leads[method] == lead]
            name = f"scoring run for {', '.join(served)}"
            parts.append(Part(name, runs, epochs / plan.spec.epochs, timed(SCORING, epochs, ordinary)))
    return parts


def _from_rows(plan: Plan) -> Timed:
    """The mean seconds of finished runs; of other methods by their cost."""
    rows = list(plan.rows)
    known: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        known[row["method"], row["epochs"]].append(row["wall"])
    epoch = sum(row["wall"] for row in rows) / sum(
        expected(row["method"], row["epochs"])[0].cost(row["epochs"]) for row in rows
    )

    def timed(method: str, epochs: int, found: Spent) -> float:
        same, alone = known.get((method, epochs)), found.training(epochs)
        return fmean(same) * alone / found.cost(epochs) if same else epoch * alone

    return timed


def _from_steps(trainer: Trainer) -> Timed:
    """By timed steps and forwards on the data. Tests of the model are in it."""
    if not isinstance(trainer, ImageTrainer | TextTrainer):
        return lambda method, epochs, found: None
    settings, n = trainer.settings, len(trainer.data)
    torch.set_num_threads(settings.threads or 1)
    if isinstance(trainer, ImageTrainer):
        clock = timing.of_images(settings, trainer.data)
    elif isinstance(trainer, LanguageTrainer):
        with rngstate.kept():
            run = trainer.made(FULL)
        clock = timing.of_language(settings, n, run)
    else:
        clock = timing.of_texts(settings, trainer.data, trainer.encoder)
    validation, test = len(trainer.data.split("validation")[1]), len(trainer.data.test_y)

    def timed(method: str, epochs: int, found: Spent) -> float:
        if method == SCORING:  # it is not tested
            return clock.of(found, epochs, n, settings.batch_size)
        own = replace(settings, method=(method,)).of(method)
        tested = (epochs // own.test_every + 1) * validation + 2 * test
        return clock.of(found, epochs, n, own.batch_size) + tested * clock.forward

    return timed


def _missing(plan: Plan, ladder: tuple[int, ...]) -> list[Job]:
    """The runs that have no row."""
    pairs = [(FULL, epochs) for epochs in ladder]
    pairs += [(method, plan.epochs(method)) for method in plan.judged]
    jobs = [Job(*pair, seed) for pair in pairs for seed in range(plan.spec.seeds)]
    if plan.spec.tune:
        # A tuned run has a row under its own learning rate.
        jobs = [job for job in jobs if plan.row(job.method, job.epochs, job.seed) is None]
        jobs += [job for pair in pairs for job in plan.tuning(*pair) if plan.rows.get(job) is None]
    else:
        jobs = [job for job in jobs if plan.rows.get(job) is None]
    return jobs


def _cost(method: str, plan: Plan) -> float:
    """The cost of a method in full trainings."""
    epochs = plan.epochs(method)
    return expected(method, epochs)[0].cost(epochs) / plan.spec.epochs


def expected(method: str, epochs: int) -> tuple[Spent, bool]:
    """What a method spends, and whether that is assumed: a table of scores, say, does not fit the toy."""
    try:
        return spent(method, epochs), False
    except (ValueError, TypeError, RuntimeError):
        return spent(FULL, epochs), True
