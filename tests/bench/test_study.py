"""Studies: what they run, and what they refuse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samplewise.bench import Study
from samplewise.bench.study.jobs import Job
from samplewise.bench.study.study import Quiet
from samplewise.bench.study.trainer import OnStep
from tests.bench import fake

TASK = '[task]\ndata = "digits"\nmodel = "mlp"\nepochs = 2\nlimit = 200\n'


class Began(Quiet):
    """Notes the runs that began."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def began(self, job: Job, missing: int) -> None:
        self.jobs.append(job)


def study_file(tmp_path: Path, text: str, task: str = TASK) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(f"{text}\n{task}")
    return path


def test_a_finished_study_runs_nothing_again(tmp_path: Path) -> None:
    """Its ladder, its method and the method's exact control run once."""
    path = study_file(tmp_path, 'seeds = 1\ncontrols = false\nmethods = ["infobatch"]')
    first, second = Began(), Began()
    one = Study.load(path).run(watcher=first)
    assert {(job.method, job.epochs) for job in first.jobs} == {("full", 1), ("full", 2), ("infobatch", 2)}
    assert Study.load(path).run(watcher=second) == one
    assert not second.jobs


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown key 'seed'.*Did you mean 'seeds'"):
        Study.load(study_file(tmp_path, 'seed = 1\nmethods = ["ucb"]'))


def test_controls_make_no_verdict_on_a_method_harder(tmp_path: Path) -> None:
    """They are a family of tests of their own."""
    alone = fake.study(tmp_path / "alone", controls=False).run().verdicts
    beside = fake.study(tmp_path / "beside", controls=True).run()
    assert len(beside.of("control")) > 5
    assert {name: verdict.p for name, verdict in beside.verdicts.items()} == {
        name: verdict.p for name, verdict in alone.items()
    }


class Tempting(fake.FakeTrainer):
    """The lowest learning rate is the best one on validation data, and the highest on test data."""

    def run(self, job: Job, on_step: OnStep) -> dict[str, Any]:
        row = super().run(job, on_step)
        row["validation"] = {**row["validation"], "accuracy": -job.lr}
        row["test"] = {**row["test"], "accuracy": job.lr}
        return row


def test_the_test_split_chooses_no_learning_rate(tmp_path: Path) -> None:
    study = fake.study(tmp_path, trainer=Tempting(), seeds=1, tune=True, tune_seeds=1, methods=("infobatch",))
    assert {line.lr for line in study.run().lines if line.kind != "control"} == {0.5}


class Scored(fake.FakeTrainer):
    """Half of the cost of a method is its scoring run."""

    def run(self, job: Job, on_step: OnStep) -> dict[str, Any]:
        row = super().run(job, on_step)
        return row | {"cost_without_scoring": row["cost"] / (1 if job.method == "full" else 2)}


def test_without_its_scoring_run_a_method_is_held_against_cheaper_training(tmp_path: Path) -> None:
    """The descriptive difference is larger by the gain of the ladder between the two costs."""
    results = fake.study(tmp_path, trainer=Scored()).run()
    line = next(line for line in results.lines if line.name == "ordered_sgd")
    assert line.verdict is not None
    assert line.bare_cost == pytest.approx(line.cost / 2)
    bare = line.beside["accuracy, by counted units without the scoring run"]
    gain = 20 * (np.exp(-8 * 0.3 / 5) - np.exp(-8 * 0.6 / 5))
    assert bare.mean - line.verdict.mean == pytest.approx(gain, abs=0.5)
    nearest = 20 * (np.exp(-2 / 5) - np.exp(-4 / 5))  # of 4.8 epochs it is 4, of 2.4 it is 2
    assert bare.exact_mean - line.verdict.exact_mean == pytest.approx(nearest, abs=0.5)


class Stopping(fake.FakeTrainer):
    """The best epoch of every run is at half of its cost, and as good as the last one."""

    def run(self, job: Job, on_step: OnStep) -> dict[str, Any]:
        row = super().run(job, on_step)
        return row | {"best": row["best"] | {"epoch": 1, "cost": row["cost"] / 2}}


def test_early_stopping_costs_what_it_trained(tmp_path: Path) -> None:
    """It is held against full training of half the cost."""
    results = fake.study(tmp_path, trainer=Stopping(), controls=True).run()
    line = next(line for line in results.lines if line.name == "full, stopped early")
    assert line.cost == pytest.approx(0.5)
    assert line.verdict is not None
    assert line.verdict.mean == pytest.approx(20 * (np.exp(-4 / 5) - np.exp(-8 / 5)), abs=0.5)


def test_a_curve_is_the_validation_result_against_cost(tmp_path: Path) -> None:
    """The synthetic runs rise in a line from 0 to their last result."""
    results = fake.study(tmp_path).run()
    full = next(line for line in results.of("ladder") if line.epochs == 8)
    costs, values = zip(*full.curve, strict=True)
    assert costs == pytest.approx([epoch / 8 for epoch in range(1, 9)])
    assert values == pytest.approx([full.results["accuracy"][0] * cost for cost in costs])
