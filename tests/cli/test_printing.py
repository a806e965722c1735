"""What commands print: with --quiet, with --json, with --dry-run, and in a terminal of 80 columns."""

import json
import re
import sys
from pathlib import Path

import pytest

from samplewise.bench import train as training
from samplewise.cli import main
from samplewise.report import pictures
from tests.cli.narrow import WIDTH, no_digit_is_lost, plain

SMALL = ["--limit", "80", "--epochs", "2", "--batch-size", "16", "--model", "mlp", "--threads", "1"]
SMALL += ["--device", "cpu"]
LONG = "ucb:keep=0.3333333,period=1,alpha=0.8123456,c=1.2345678"
TRAIN = ["train", *SMALL, "--seeds", "1", "--method", "full", "--method", "random:keep=0.25"]
SCORE = ["score", *SMALL, "--method", "el2n:first=1", "--method", "aum"]


@pytest.fixture(autouse=True)
def unpictured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    for name, value in WIDTH.items():
        monkeypatch.setenv(name, value)


def test_quiet_prints_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--quiet", "--out", "one"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.count("\n") == 1
    assert printed.out.startswith("random:keep=0.25 reaches ")
    assert printed.out.endswith(" The folder is one.\n")
    assert main([*SCORE, "--quiet", "-o", "scores.parquet"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("scores.parquet has scores of 80 samples by el2n, aum.")
    assert printed.out.count("\n") == 1
    select = ["select", "scores.parquet", "--method", "el2n", "--keep", "0.25", "-o", "hard.parquet"]
    assert main([*select, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "hard.parquet: 20 of 80 samples by el2n, no weights\n"


def test_the_sentence_of_a_training_says_the_numbers_of_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--quiet", "--out", "one"]) == 0
    said = capsys.readouterr().out
    rows = {row["method"]: row for row in map(json.loads, Path("one/results.jsonl").read_text().splitlines())}
    drawn, full = rows["random:keep=0.25"], rows["full"]
    assert f"reaches {drawn['test_accuracy']:.2f} % test accuracy" in said
    assert f"full {full['test_accuracy']:.2f} %" in said
    assert "random:keep=0.25 costs 25.0 % of ordinary training" in said
    share = 1 - drawn["seconds"] / full["seconds"]
    assert f"{abs(100 * share):.1f} % {'less' if share >= 0 else 'more'} time" in said
    assert "This is no verdict" in said


@pytest.mark.parametrize("command", [[*TRAIN, "--out", "one"], [*SCORE, "-o", "scores.parquet"]])
def test_json_is_all_of_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Also if the user's own model prints."""
    step = training.Run.train_step

    def talking(self: training.Run, batch: object, epoch: int) -> None:
        sys.stdout.write("hello from a model")
        step(self, batch, epoch)

    monkeypatch.setattr(training.Run, "train_step", talking)
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert "hello from a model" in printed.err
    assert found["sentence"]
    if command[0] == "train":
        assert [row["method"] for row in found["results"]] == ["full", "random:keep=0.25"]
        assert [row["method"] for row in found["summary"]] == ["full", "random:keep=0.25"]
        assert found["folder"] == "one"
    else:
        assert found["file"] == "scores.parquet"
        assert found["methods"] == ["el2n", "aum"]
        assert found["samples"] == 80


def test_quiet_json_prints_nothing_else_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--quiet", "--json", "--out", "one"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out)["folder"] == "one"


def test_an_error_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--json"], ["--quiet"], []):
        assert main([*TRAIN, *more, "--data", "nowhere.npz", "--out", "one"]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
    assert not Path("one").exists()


def test_controls_print_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *SMALL, "--seeds", "2", "--method", "full", "--method", "infobatch", "--controls"]
    assert main([*command, "--json", "--out", "one"]) == 0
    (study,) = json.loads(capsys.readouterr().out)["studies"]
    assert study["folder"] == "one"
    assert study["in_words"] == json.loads(Path("one/verdicts.json").read_text())["in_words"]


def test_a_training_in_a_narrow_terminal_keeps_every_digit(
    capsys: pytest.CaptureFixture[str], narrow: None
) -> None:
    assert main([*TRAIN, "--method", LONG, "--out", "one"]) == 0
    said = plain(capsys.readouterr().out)
    no_digit_is_lost(said)
    for row in map(json.loads, Path("one/results.jsonl").read_text().splitlines()):
        assert f"{row['test_accuracy']:.2f}" in said
        assert f"{100 * row['cost_share']:.1f} %" in said
        assert f"{100 * row['overhead']:.1f} %" in said
    assert said.count("ucb:") > 1, "the columns stand in several tables"


def test_a_dry_run_in_a_narrow_terminal_keeps_every_digit(
    capsys: pytest.CaptureFixture[str], narrow: None
) -> None:
    assert main([*TRAIN, "--method", LONG, "--dry-run"]) == 0
    no_digit_is_lost(plain(capsys.readouterr().out))


def test_the_list_of_methods_fits_into_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], narrow: None
) -> None:
    for command in (["methods"], ["methods", "tdds"], ["methods", "rho_loss"]):
        assert main(command) == 0
        no_digit_is_lost(plain(capsys.readouterr().out))


def test_theory_fits_into_a_narrow_terminal(capsys: pytest.CaptureFixture[str], narrow: None) -> None:
    command = "theory perceptron --dimension 20 --repeats 2 --stages 3 --schedule linear --out theory"
    assert main(command.split()) == 0
    said = plain(capsys.readouterr().out)
    no_digit_is_lost(said)
    assert re.search(r"After 3 stages, theory has \d+\.\d\d % error", said)
