"""Studies: what they run, and what they refuse."""

from pathlib import Path

import pytest

from samplewise.bench import Study
from samplewise.bench.study.jobs import Job
from samplewise.bench.study.study import Quiet

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
