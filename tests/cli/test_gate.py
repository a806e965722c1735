"""`samplewise train --gate`."""

import pytest

from samplewise.bench import train as training
from samplewise.bench.settings import Settings
from samplewise.bench.study.images import TASK_SETTINGS
from samplewise.cli import main
from samplewise.report import pictures

SMALL = ["train", "--limit", "64", "--epochs", "2", "--batch-size", "16", "--seeds", "1", "--threads", "1"]
SMALL += ["--model", "mlp"]


@pytest.fixture(autouse=True)
def unpictured(monkeypatch):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


def test_runs_that_score_get_a_gate_and_others_none(tmp_path, monkeypatch, capsys):
    gates, train = {}, training.train

    def noting(task, *given):
        run = train(task, *given)
        gates[task.method] = run.selector.timeline.step.gate is not None
        return run

    monkeypatch.setattr("samplewise.bench.experiment.train", noting)
    methods = ["full", "ordered_sgd", "infobatch", "random_batch"]
    chosen = [word for method in methods for word in ("--method", method)]
    assert main([*SMALL, *chosen, "--gate", "--out", str(tmp_path / "run")]) == 0
    assert gates == {"full": False, "ordered_sgd": True, "infobatch": True, "random_batch": True}
    assert main([*SMALL, "--resume", "--out", str(tmp_path / "run")]) == 0


def test_a_gate_without_a_method_for_it_is_refused(tmp_path, capsys):
    assert main([*SMALL, "--method", "full", "--gate", "--out", str(tmp_path / "run")]) == 2
    assert (
        "--gate needs a method that scores and chooses while it trains, got full" in capsys.readouterr().err
    )


def test_a_gate_is_refused_where_runs_are_repeated_exactly(tmp_path, capsys):
    given = [*SMALL, "--method", "ordered_sgd", "--gate", "--controls", "--out", str(tmp_path / "run")]
    assert main(given) == 2
    assert "--gate decides by the clock" in capsys.readouterr().err
    assert "gate" not in TASK_SETTINGS


def test_a_folder_of_before_has_no_gate():
    assert Settings().gate is False
