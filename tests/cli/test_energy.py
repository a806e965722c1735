"""`samplewise train --energy`, folders in place of study files, and the progress of Markov chains."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from samplewise.cli import main, progress, train
from samplewise.report import pictures

SMALL = ["train", "--limit", "80", "--epochs", "2", "--batch-size", "16", "--model", "mlp", "--threads", "1"]
SMALL += ["--device", "cpu", "--seeds", "1", "--method", "full", "--method", "random:keep=0.5"]


class Meter:
    """A joule a look."""

    measures = True

    def __init__(self) -> None:
        self.used = 0.0

    def joules(self) -> float | None:
        self.used += 1
        return self.used if self.measures else None


class Silent(Meter):
    measures = False


@pytest.fixture(autouse=True)
def unpictured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.chdir(tmp_path)


def results() -> list[dict]:
    return [json.loads(line) for line in Path("one/results.jsonl").read_text().splitlines()]


def test_the_energy_of_every_run_is_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "ZeusMeter", Meter)
    assert main([*SMALL, "--energy", "--log", "csv", "--out", "one"]) == 0
    assert all(row["energy_joules"] > 0 for row in results())
    assert "energy_joules" in Path("one/log-full-0.csv").read_text().splitlines()[0]
    assert main([*SMALL, "--resume", "--out", "one"]) == 0, "the rows are read again"


def test_a_machine_that_does_not_tell_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "ZeusMeter", Silent)
    assert main([*SMALL, "--energy", "--out", "one"]) == 0
    assert capsys.readouterr().out.count("does not tell its energy") == 1
    assert not any("energy_joules" in row for row in results())


def test_a_folder_is_no_study_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    assert main(["bench", "mine"]) == 2
    assert capsys.readouterr().err == "error: mine is a folder, but a study is a file (TOML).\n"
    Path("mine.toml").write_text("")
    assert main(["bench", "mine"]) == 2
    assert "Did you mean mine.toml?" in capsys.readouterr().err
    Path("mine/study.toml").write_text("")
    assert main(["bench", "mine"]) == 2
    assert "continue it with samplewise train --out mine --resume" in capsys.readouterr().err


def test_a_long_step_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now, file = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Working(Console(file=file, width=200), "ucb[/]: chains") as working:
        for now[0] in range(25):
            working(now[0] / 25)
    assert file.getvalue().splitlines() == ["ucb[/]: chains: 40 % done", "ucb[/]: chains: 80 % done"]
