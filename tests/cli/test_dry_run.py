"""`--dry-run` of train and score: what it says, and that nothing is trained or written."""

import json
from pathlib import Path

import pytest

from samplewise.bench import train as training
from samplewise.cli import main
from samplewise.report import pictures

SMALL = ["--limit", "80", "--epochs", "4", "--batch-size", "16", "--model", "mlp", "--threads", "1"]
SMALL += ["--device", "cpu"]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.chdir(tmp_path)


def foreseen(capsys: pytest.CaptureFixture[str], *command: str) -> dict:
    assert main([*command, "--dry-run", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_dry_run_trains_nothing_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.Run, "train_step", lambda *_: pytest.fail("trained"))
    train = ["train", *SMALL, "--method", "full", "--method", "el2n:first=2"]
    score = ["score", *SMALL, "--method", "el2n:first=2", "-o", "new/scores.parquet"]
    for command in (train, [*train, "--out", "new/one"], [*train, "--controls"], score):
        assert main([*command, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "runs" in said
        assert "GiB of memory" in said
        assert "full trainings (" in said
    assert not [*Path().iterdir()]


def test_the_cost_is_that_of_the_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds of 4 epochs on 80 samples: full costs 4 x 80 x 3 forwards."""
    found = foreseen(
        capsys, "train", *SMALL, "--seeds", "2", "--method", "full", "--method", "random:keep=0.25",
        "--method", "el2n:first=2,keep=0.5", "--method", "aum:keep=0.5",
    )  # fmt: skip
    parts = {part["name"]: part for part in found["parts"]}
    assert {name: part["runs"] for name, part in parts.items()} == dict.fromkeys(parts, 2)
    assert parts["full"]["cost"] == 1
    assert parts["random:keep=0.25"]["cost"] == pytest.approx(0.25)
    assert parts["aum:keep=0.5"]["cost"] == pytest.approx(0.5)
    (scoring,) = found["scoring"]  # aum needs all 4 epochs, and the same run serves el2n
    assert (scoring["runs"], scoring["cost"]) == (2, 1.0)
    assert found["cost"] == pytest.approx(2 * (1 + 0.25 + 0.5 + 0.5 + 1))
    assert found["forwards"] == pytest.approx(found["cost"] * 4 * 80 * 3)
    assert found["seconds"] > 0
    assert found["memory_bytes"] > 1e7


def test_scoring_ends_when_the_last_score_is_final(capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--method", "el2n:first=2", "--method", "el2n:first=1,keep=0.3", "--runs", "3"]
    found = foreseen(capsys, "score", *SMALL, *both, "-o", "scores.parquet")
    (part,) = found["parts"]
    assert (part["runs"], part["cost"]) == (3, 0.5)


def test_irreducible_losses_train_halves_and_score_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """A half trains (3 forwards a sample), and after every epoch the other half is scored (1)."""
    found = foreseen(capsys, "score", *SMALL, "--method", "irreducible", "-o", "il.parquet")
    (part,) = found["parts"]
    assert part["runs"] == 2
    assert part["cost"] == pytest.approx((40 * 3 + 40) / (80 * 3))


def test_finished_runs_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *SMALL, "--seeds", "1", "--method", "full", "--method", "infobatch", "--out", "one"]
    assert main(command) == 0
    before = sorted(path.name for path in Path("one").iterdir())
    lines = Path("one/results.jsonl").read_text().splitlines()
    Path("one/results.jsonl").write_text(lines[0] + "\n")
    capsys.readouterr()
    found = foreseen(capsys, *command, "--resume")
    assert [part["name"] for part in found["parts"]] == ["infobatch"]
    assert (found["runs"], found["finished"]) == (1, 1)
    assert sorted(path.name for path in Path("one").iterdir()) == before


def test_strategy_p_trains_longer(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--method", "rs2:keep=0.5", "--method", "random:keep=0.25", "--strategy", "P", "--seeds", "1"]
    parts = foreseen(capsys, "train", *SMALL, *given)["parts"]
    assert [part["cost"] for part in parts] == pytest.approx([1, 1])


def test_what_is_refused_is_refused_here_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL, "--method", "tdds:T=50", "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["score", *SMALL, "--method", "infobatch", "--dry-run", "-o", "x.parquet"]) == 2
    assert "must be a static method" in capsys.readouterr().err
    assert not [*Path().iterdir()]
