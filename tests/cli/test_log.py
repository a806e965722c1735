"""`samplewise train --log`: a log of every run, continued by --resume."""

import csv
import sys
import warnings
from pathlib import Path

import pytest

from samplewise.bench import files
from samplewise.cli import main
from samplewise.report import pictures
from tests.cli.test_train_command import Killed, crash_at

SMALL = ["train", "--limit", "80", "--epochs", "4", "--batch-size", "16", "--model", "mlp", "--threads", "1"]
SMALL += ["--device", "cpu", "--seeds", "1", "--method", "full", "--method", "random:keep=0.5"]


@pytest.fixture(autouse=True)
def unpictured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.chdir(tmp_path)


def rows(name: str) -> list[dict[str, str]]:
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_run_has_a_log_with_every_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(action="ignore"):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    assert main([*SMALL, "--log", "csv", "--log", "tensorboard", "--out", "one"]) == 0
    ends = {row["method"]: row for row in files.read_lines(Path("one/results.jsonl"))}
    for method, word in (("full", "full-0"), ("random:keep=0.5", "random_keep=0.5-0")):
        found = rows(f"one/log-{word}.csv")
        assert [row["epoch"] for row in found] == ["0", "1", "2", "3"]
        assert float(found[-1]["cost"]) == ends[method]["cost"]
        assert {float(row["kept_share"]) for row in found} == {ends[method]["cost_share"]}
        shown = EventAccumulator(f"one/tensorboard/{word}")
        shown.Reload()
        assert [event.step for event in shown.Scalars("samplewise/cost")] == [0, 1, 2, 3]
    assert main([*SMALL, "--resume", "--out", "one"]) == 0, "a log is no part of the settings"


def test_a_killed_run_continues_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, 13)
        with pytest.raises(Killed):
            main([*SMALL, "--log", "csv", "--out", "one"])
    assert 0 < len(rows("one/log-full-0.csv")) < 4
    assert main([*SMALL, "--resume", "--log", "csv", "--out", "one"]) == 0
    assert main([*SMALL, "--log", "csv", "--out", "whole"]) == 0
    for name in ("log-full-0.csv", "log-random_keep=0.5-0.csv"):
        found, whole = rows(f"one/{name}"), rows(f"whole/{name}")
        assert [row["epoch"] for row in found] == ["0", "1", "2", "3"]
        for key in ("samples_backpropagated", "kept_share", "cost", "promised"):
            assert [row[key] for row in found] == [row[key] for row in whole]


def test_what_cannot_log_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--controls", "--log", "csv", "--out", "one"]) == 2
    assert "--log is for single trainings" in capsys.readouterr().err
    assert main([*SMALL, "--log", "csb", "--out", "one"]) == 2
    assert "Did you mean 'csv'?" in capsys.readouterr().err
    assert not Path("one").exists()


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_a_missing_package_is_named_before_any_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)  # so that it is missing, also where it is installed
    assert main([*SMALL, "--log", kind, "--out", "one"]) == 2
    assert f"pip install 'samplewise[{kind}]'" in capsys.readouterr().err
    assert not Path("one").exists()
