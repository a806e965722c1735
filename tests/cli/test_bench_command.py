"""`samplewise bench`: what it prints, and how it ends."""

import json
from pathlib import Path

import pytest

from samplewise.bench.study.images import ImageTrainer
from samplewise.cli import main
from samplewise.cli.study_progress import duration

STUDY = """
seeds = 2
controls = false
methods = ["infobatch"]
question = "Which one?"
[task]
data = "digits"
model = "mlp"
epochs = 2
limit = 100
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(STUDY)
    return file


def test_a_study_prints_a_line_for_each_run_and_the_table(path, capsys):
    assert main(["bench", str(path)]) == 0
    said = capsys.readouterr().out
    rows = (path.with_suffix("") / "rows.jsonl").read_text().splitlines()
    lines = [line for line in said.splitlines() if " in " in line and "seed" in line and "/" in line]
    assert len(lines) == len(rows) == 6
    assert "Which one?" in said
    assert "There is no verdict on the 1 method yet." in said
    assert main(["bench", str(path)]) == 0
    assert "infobatch, 2 epochs, seed 0" not in capsys.readouterr().out


def test_further_methods_seeds_data_and_folder(path, tmp_path, capsys):
    more = ["--method", "ucb:keep=0.5,period=1", "--seeds", "1", "--out", str(tmp_path / "other")]
    assert main(["bench", str(path), "--data", "digits", *more]) == 0
    rows = [json.loads(line) for line in (tmp_path / "other" / "rows.jsonl").read_text().splitlines()]
    assert {row["method"] for row in rows} == {"full", "infobatch", "ucb:keep=0.5,period=1"}
    assert {row["seed"] for row in rows} == {0}


def interrupt(*_):
    raise KeyboardInterrupt


def test_an_interrupted_study_says_what_is_kept_and_how_to_continue(path, monkeypatch, capsys):
    run, calls = ImageTrainer.run, []

    def third(self, job, on_step):
        calls.append(job)
        return interrupt() if len(calls) == 3 else run(self, job, on_step)

    monkeypatch.setattr(ImageTrainer, "run", third)
    assert main(["bench", str(path), "--seeds", "1", "--method", "full@lr=0.1"]) == 130
    said = capsys.readouterr().err
    assert f"2 finished runs are kept in {path.with_suffix('') / 'rows.jsonl'}" in said
    assert f"samplewise bench {path} --method full@lr=0.1 --seeds 1" in said
    assert (path.with_suffix("") / "table.md").exists()


def test_failed_runs_are_listed_and_the_others_go_on(path, monkeypatch, capsys):
    run = ImageTrainer.run

    def failing(self, job, on_step):
        if job.method == "infobatch":
            raise ValueError("no luck.")
        return run(self, job, on_step)

    monkeypatch.setattr(ImageTrainer, "run", failing)
    assert main(["bench", str(path)]) == 1
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if line.startswith("failed:")] == [
        f"failed: infobatch, 2 epochs, seed {seed}: no luck." for seed in (0, 1)
    ]
    assert "full, 2 epochs" in said.out


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (STUDY, ["--jobs", "0"], "jobs must be a whole number >= 1, got 0."),
        (STUDY, ["--seeds", "0"], "seeds must be in [1, 1000], got 0"),
        (STUDY, ["--method", "infobatch"], "infobatch"),
        (STUDY, ["--method", "ucbb"], "ucb"),
        (STUDY.replace("seeds", "seed"), [], "unknown key 'seed'. Did you mean 'seeds'?"),
        (STUDY.replace("mlp", "mlpp"), [], "mlp"),
    ],
)
def test_bad_input_is_one_line_and_nothing_runs(path, capsys, text, arguments, expected):
    path.write_text(text)
    assert main(["bench", str(path), *arguments]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert expected in said
    assert "Spec." not in said
    assert not (path.with_suffix("") / "rows.jsonl").exists()


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert main(["bench", str(tmp_path / "none.toml")]) == 2
    assert "none.toml does not exist" in capsys.readouterr().err
    assert not list(Path(tmp_path).iterdir())


def test_a_time_is_told_in_words():
    assert [duration(s) for s in (8.4, 89, 91, 5340, 5400, 86400)] == [
        "8 s", "89 s", "2 min", "89 min", "1 h 30 min", "24 h 0 min",
    ]  # fmt: skip
