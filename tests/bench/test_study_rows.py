"""The rows of a study: what keeps them, what loses one, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.judge_synthetic import Method, Synthetic
from samplewise.bench import Study
from samplewise.bench.lock import InUseError, folder_alone
from samplewise.bench.study.jobs import Job
from samplewise.bench.study.study import Quiet

TRAINER = Synthetic({"ucb": Method(3), "infobatch": Method(2.5)})


class Began(Quiet):
    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def began(self, job: Job, missing: int) -> None:
        self.jobs.append(job)


def runs(out: Path, methods: tuple[str, ...] = ("ucb",), seeds: int = 2, **about: Any) -> list[Job]:
    """The runs that a study does."""
    watcher = Began()
    trainer = about.pop("trainer", TRAINER)
    Study(trainer, methods, epochs=4, seeds=seeds, controls=False, out=out, **about).run(watcher=watcher)
    return watcher.jobs


def test_other_seeds_methods_and_orders_keep_the_rows(tmp_path: Path) -> None:
    assert len(runs(tmp_path)) == 2 * (4 + 1)
    assert {job.seed for job in runs(tmp_path, seeds=3)} == {2}
    assert {job.method for job in runs(tmp_path, ("ucb", "infobatch"), 3)} == {"infobatch"}
    assert not runs(tmp_path, ("infobatch", "ucb"), 2)


def test_rows_continue_in_another_folder_without_anything_else(tmp_path: Path) -> None:
    runs(tmp_path / "one")
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "rows.jsonl", tmp_path / "two" / "rows.jsonl")
    assert not runs(tmp_path / "two")


def test_two_studies_have_the_same_rows_byte_for_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        runs(tmp_path / name)
    one, two = ((tmp_path / name / "rows.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_torn_line_is_dropped_and_its_run_repeated(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    runs(tmp_path)
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-40])
    study = Study(TRAINER, ["ucb"], epochs=4, seeds=2, controls=False, out=tmp_path)
    assert study.results().missing == 1
    assert rows.read_bytes() == whole[:-40]  # reading changes nothing: another process may be writing
    assert len(runs(tmp_path)) == 1
    assert rows.read_bytes() == whole


def test_rows_of_another_task_are_refused_and_the_difference_said(tmp_path: Path) -> None:
    other = Synthetic(TRAINER.methods, name="another")
    runs(tmp_path)
    with pytest.raises(ValueError, match="another task: name was 'synthetic', now 'another'"):
        runs(tmp_path, trainer=other)
    (tmp_path / "study.json").unlink()
    with pytest.raises(ValueError, match=r"line 1 is of task .*, but this study is task"):
        runs(tmp_path, trainer=other)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"seed": 7}, "line 1 is damaged: its key must be .* seed 7"),
        ({"epochs": 3}, "line 1 is damaged: its key must be"),
        ({"method": "infobatch"}, "line 1 is damaged: its key must be"),
        ({"lr": 2.0}, "line 1 is damaged: its key must be"),
        ({"key": "0"}, "got 0. Remove the line"),
        (None, "line 1 is damaged: it must be a JSON object"),
        ("{", "line 1 is damaged: .*Remove the line"),
    ],
)
def test_an_edited_row_is_refused(tmp_path: Path, edit: Any, said: str) -> None:
    rows = tmp_path / "rows.jsonl"
    runs(tmp_path)
    first, *others = rows.read_text().splitlines()
    changed = edit if isinstance(edit, str) else json.dumps(edit and json.loads(first) | edit)
    rows.write_text("\n".join([changed, *others, ""]))
    with pytest.raises(ValueError, match=said):
        runs(tmp_path)


def test_a_folder_takes_one_study_at_a_time(tmp_path: Path) -> None:
    with folder_alone(tmp_path), pytest.raises(InUseError):
        runs(tmp_path)
