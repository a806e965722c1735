"""`samplewise train --controls` and `--save-model`."""

import json
from pathlib import Path

import pytest
import torch

from samplewise.bench import load_model
from samplewise.bench.data import load
from samplewise.cli import main

ARGUMENTS = ["train", "--model", "mlp", "--epochs", "2", "--limit", "200", "--seeds", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_controls_make_a_study_of_the_methods(capsys: pytest.CaptureFixture[str]) -> None:
    """The ladder and the random controls run beside the method; a second call runs nothing."""
    again = [*ARGUMENTS, "--method", "full", "--method", "infobatch", "--controls", "--out", "run"]
    assert main(again) == 0
    found = json.loads(Path("run/verdicts.json").read_text())["lines"]
    assert [line["name"] for line in found if line["kind"] == "ladder"] == ["full, 1 epoch", "full, 2 epochs"]
    assert [line["name"] for line in found if line["kind"] == "method"] == ["infobatch"]
    assert any(line["name"].startswith("rs2") for line in found)
    rows = Path("run/rows.jsonl").read_text()
    assert main(again) == 2
    assert "Add --resume" in capsys.readouterr().err
    assert main(["train", "--out", "run", "--resume"]) == 0
    assert Path("run/rows.jsonl").read_text() == rows


def test_other_settings_do_not_continue_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--method", "infobatch", "--controls", "--out", "run"]) == 0
    assert main(["train", "--out", "run", "--resume", "--lr", "0.3"]) == 2
    assert "lr was 0.05, now 0.3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--subset", "none.parquet"], "got --subset"), (["--epochs", "1"], "at least 2 rungs")],
)
def test_controls_refuse_what_has_no_ladder(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, "--controls", "--method", "infobatch", "--out", "run", *more]) == 2
    assert said in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_saved_model_gives_the_accuracy_of_its_run() -> None:
    """It takes the stored pixels."""
    assert main([*ARGUMENTS, "--method", "full", "--save-model", "--out", "run"]) == 0
    row = json.loads(Path("run/results.jsonl").read_text())
    model, data = load_model("run/model-full-0.pt"), load("digits")
    with torch.no_grad():
        right = (model(data.test_x).argmax(1) == data.test_y).double().mean()
    assert 100 * right.item() == pytest.approx(row["test_accuracy"])


def test_a_study_keeps_the_model_of_the_last_epoch() -> None:
    assert main([*ARGUMENTS, "--method", "infobatch", "--controls", "--save-model", "--out", "run"]) == 0
    rows = map(json.loads, Path("run/rows.jsonl").read_text().splitlines())
    row = next(row for row in rows if (row["method"], row["epochs"]) == ("full", 1))
    model, data = load_model("run/model-full-1-epochs-0.pt"), load("digits")
    with torch.no_grad():
        right = (model(data.test_x).argmax(1) == data.test_y).double().mean()
    assert 100 * right.item() == pytest.approx(row["test"]["accuracy"])


def test_another_checkpoint_is_no_model(tmp_path: Path) -> None:
    from samplewise import save

    save(tmp_path / "other.pt", {"a": 1})
    with pytest.raises(ValueError, match=r"must be a model of samplewise train --save-model"):
        load_model(tmp_path / "other.pt")
