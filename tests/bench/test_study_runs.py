"""The row of a study's run, against the training of the command."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samplewise import recipes
from samplewise.bench import Study
from samplewise.bench.study.images import ImageTrainer
from samplewise.bench.study.jobs import Job
from samplewise.bench.train import Task, train


def trainer(folder: Path, lr: float = 0.05, methods: str = '"infobatch"') -> ImageTrainer:
    """The trainer of a study of digits."""
    folder.mkdir()
    path = folder / "small.toml"
    path.write_text(
        f'methods = [{methods}]\n[task]\ndata = "digits"\nmodel = "mlp"\nepochs = 5\nlimit = 300\n'
        f'schedule = "constant"\nlr = {lr}\n'
    )
    found = Study.load(path).trainer
    assert isinstance(found, ImageTrainer)
    return found


def run(one: ImageTrainer, job: Job) -> dict[str, Any]:
    return one.run(job, lambda progress: None)


def test_the_best_epoch_is_tested_with_its_own_weights(tmp_path: Path) -> None:
    """A training without a validation split, tested after every epoch, says what each epoch has."""
    one = trainer(tmp_path / "a", lr=0.4)
    data = replace(one.data, validation_x=None, validation_y=None)
    rows = {seed: run(one, Job("full", 5, seed)) for seed in range(4)}
    early = {seed: row for seed, row in rows.items() if row["best"]["epoch"] < 5}
    assert early
    for seed, row in early.items():
        task = Task("full", recipes.full(), seed, data, one.settings)
        curve = train(replace(task, settings=replace(one.settings, epochs=5)), tmp_path / f"{seed}.pt").curve
        tested = {point["epoch"]: point["test_accuracy"] for point in curve}
        assert row["best"]["test"]["accuracy"] == pytest.approx(tested[row["best"]["epoch"]])
        assert row["test"]["accuracy"] == pytest.approx(tested[5])


def test_a_factor_multiplies_the_learning_rate(tmp_path: Path) -> None:
    low, high = trainer(tmp_path / "a", lr=0.05), trainer(tmp_path / "b", lr=0.1)
    twice = run(low, Job("infobatch", 2, 0, 2.0))
    assert twice["test"] == run(high, Job("infobatch", 2, 0))["test"]
    assert twice["test"] != run(low, Job("infobatch", 2, 0))["test"]


def test_a_scoring_run_is_in_cost_and_seconds(tmp_path: Path) -> None:
    """Training on all samples, 3 units each, until the score is final after 2 epochs."""
    one = trainer(tmp_path / "a", methods='"el2n:keep=0.5,first=2"')
    row = run(one, Job("el2n:keep=0.5,first=2", 5, 0))
    assert row["cost"] - row["cost_without_scoring"] == 2 * 3 * len(one.data)
    (spent,) = one.work.glob("scoring-*/seconds.json")
    scoring = row["seconds"] - row["seconds_without_scoring"]
    assert scoring == pytest.approx(json.loads(spent.read_text())["cpu"])
    assert scoring > 0
