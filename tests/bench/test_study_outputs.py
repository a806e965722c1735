"""The files of a study: all of them after it, and after an interruption."""

import json

import pyarrow.parquet as pq
import pytest

from samplewise.bench.study.outputs import FILES
from samplewise.bench.study.remaining import seconds_left
from samplewise.bench.study.study import FailedRunsError, Quiet
from tests.bench.fake import FakeTrainer, study


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def test_the_verdicts_are_json_with_all_that_is_printed(tmp_path):
    results = study(tmp_path, seeds=1).run()
    found = json.loads((tmp_path / "verdicts.json").read_text(), parse_constant=refuse)
    assert found["about_the_task"] == results.about_the_task
    assert (found["delta"], found["n"], found["seeds"]) == (0.3, 100, 1)
    assert found["task"] == results.task
    assert found["machines"] == ["abacus, 2 cores, cpu"]
    lines = {line["name"]: line for line in found["lines"]}
    # One seed has no interval: its ends are infinite, which JSON cannot say.
    assert lines["infobatch"]["verdict"]["interval"] == [None, None]
    assert lines["infobatch"]["beside"]["loss"]["word"] == "too few seeds"


def test_the_rows_are_flat_columns(tmp_path):
    made = study(tmp_path, seeds=1)
    made.run()
    read = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    rows = list(made.plan.rows)
    assert [row["test_accuracy"] for row in read] == [row["test"]["accuracy"] for row in rows]
    assert [row["best_test_loss"] for row in read] == [row["best"]["test"]["loss"] for row in rows]
    assert all(not isinstance(value, dict | list) for row in read for value in row.values())


class Stops(Quiet):
    """Interrupts after some runs."""

    def __init__(self, after):
        self.left = after

    def ended(self, job, row):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 9])
def test_an_interrupted_study_has_its_files(tmp_path, after):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path).run(watcher=Stops(after))
    assert {path.name for path in tmp_path.iterdir()} >= {*FILES} - {"differences.png"}
    assert json.loads((tmp_path / "verdicts.json").read_text())["missing"] > 0
    assert "not finished" in (tmp_path / "table.md").read_text()


def test_runs_that_failed_are_told_after_the_others(tmp_path):
    with pytest.raises(FailedRunsError, match=r"ordered_sgd.*it does not fit") as failed:
        study(tmp_path, seeds=2, trainer=FakeTrainer(failing=("ordered_sgd",))).run()
    assert [(job.method, job.seed) for job, _ in failed.value.failures] == [
        ("ordered_sgd", 0),
        ("ordered_sgd", 1),
    ]
    assert "infobatch" in (tmp_path / "table.md").read_text()


def test_the_time_left_is_that_of_the_missing_runs(tmp_path):
    made = study(tmp_path, seeds=2)
    assert seconds_left(made.plan) is None
    made.run()
    assert seconds_left(made.plan) == 0
    more = study(tmp_path, seeds=3)
    # A run of the fake takes 2 s for each epoch of full training that it costs.
    missing = [(row["method"], row["epochs"]) for row in made.plan.rows if row["seed"] == 0]
    known = {pair: [] for pair in missing}
    for row in made.plan.rows:
        known[row["method"], row["epochs"]].append(row["wall"])
    expected = sum(sum(times) / len(times) for times in known.values())
    assert seconds_left(more.plan) == pytest.approx(expected)
    assert seconds_left(more.plan, jobs=2, slower=3.0) == pytest.approx(1.5 * expected)
    # A method without a row is taken for full training of its length.
    other = study(tmp_path, seeds=2, methods=("infobatch", "kakurenbo"))
    assert seconds_left(other.plan) == pytest.approx(2 * 16)
