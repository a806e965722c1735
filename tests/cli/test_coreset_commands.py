"""`samplewise score`, `select` and `train --subset`: from a training to a coreset to a model."""

import json

import pandas as pd
import pytest
import torch

from samplewise.bench import files
from samplewise.bench import train as training
from samplewise.cli import main
from samplewise.coresets.table import ScoreTable, Subset
from samplewise.files import checkpoints
from samplewise.report import pictures

SMALL = ["--limit", "120", "--epochs", "4", "--batch-size", "32", "--threads", "1", "--model", "mlp"]
SMALL += ["--device", "cpu"]
METHODS = ["--method", "el2n:first=2", "--method", "tdds:keep=0.3", "--method", "moderate"]


@pytest.fixture(scope="module", autouse=True)
def unpictured():
    """Drawing takes longer than these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Two runs of three methods."""
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    assert main(["score", *SMALL, *METHODS, "--runs", "2", "-o", str(path)]) == 0
    return path


def said(capsys):
    """The one line of an error."""
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_scores_of_all_methods_are_in_one_file_readable_by_pandas(scores):
    frame = pd.read_parquet(scores)
    assert set(frame) == {
        "id",
        "label",
        "el2n",
        "tdds",
        "moderate",
        "moderate_distance",
        "times_selected",
    }
    assert frame["id"].tolist() == list(range(120))
    assert not frame.isna().any().any()
    assert not scores.with_name("scores.parquet.work").exists()
    provenance = ScoreTable.read(scores).provenance
    assert provenance["combined"] == "mean"
    assert [run["seed"] for run in provenance["runs"]] == [0, 1]
    # Two runs of 3 n a training epoch: el2n takes 2 epochs, tdds all 4, moderate a pass after them.
    costs = {name: spent["cost"] for name, spent in provenance["scoring"].items()}
    assert costs == {"el2n": 2 * 720, "tdds": 2 * 1440, "moderate": 2 * (1440 + 120)}


def test_runs_are_combined_by_mean_or_sum(tmp_path, scores):
    single = []
    for runs, how in ((1, "mean"), (2, "sum")):
        path = tmp_path / f"{runs}.parquet"
        command = ["score", *SMALL, "--method", "el2n:first=2", "--runs", str(runs), "--combine", how]
        assert main([*command, "-o", str(path)]) == 0
        single.append(ScoreTable.read(path)["el2n"].double())
    one, both = single
    mean = ScoreTable.read(scores)["el2n"]
    # Recording other methods beside it changes nothing.
    torch.testing.assert_close(both, 2 * mean, rtol=0, atol=0)
    assert not torch.equal(one, mean)


def test_select_writes_all_rows_and_says_what_it_chose(tmp_path, scores, capsys):
    out = tmp_path / "s.parquet"
    command = ["select", str(scores), "--method", "el2n", "--keep", "0.25", "--balance"]
    assert main([*command, "--weights", "batch_mean", "--normalize", "mean1", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "30 of 120 samples by el2n, by class, weights" in printed
    assert "per class: 0: 3/12, 1: 3/12" in printed
    assert "2 runs, mean" in printed
    frame = pd.read_parquet(out)
    assert list(frame)[:2] == ["id", "label"]
    assert list(frame)[-2:] == ["selected", "weight"]
    assert len(frame) == 120
    kept = frame[frame["selected"]]
    assert kept["label"].value_counts().tolist() == [3] * 10
    assert kept["weight"].mean() == pytest.approx(1)
    assert (frame.loc[~frame["selected"], "weight"] == 0).all()
    best = frame.sort_values(["el2n", "id"], ascending=[False, True]).groupby("label").head(3)
    assert sorted(best["id"]) == kept["id"].tolist()
    assert Subset.read(out).weighting == "batch_mean"


def test_select_notes_that_tdds_was_recorded_for_another_share(tmp_path, scores, capsys):
    for keep, noted in (("0.3", False), ("0.7", True)):
        out = tmp_path / f"{keep}.parquet"
        assert main(["select", str(scores), "--method", "tdds", "--keep", keep, "-o", str(out)]) == 0
        printed = capsys.readouterr().out
        assert ("published: T=80, window=10); for keep=0.7 it is T=70, window=10" in printed) == noted


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--method", "tddss"], "this table has no method 'tddss'. Did you mean 'tdds'? It has "),
        (["--method", "el2n", "--keep", "30"], "--keep must be in (0, 1], got 30.0. Did you mean 0.3?"),
        (["--method", "el2n", "--weights", "per-sample"], "Did you mean 'per_sample'?"),
        (["--method", "el2n", "--normalize", "mean"], "--normalize must be one of 'mean1'"),
        (["--method", "el2n", "--seed", "-1"], "--seed must be >= 0"),
        (["--method", "moderate", "--weights", "per_sample"], "moderate has no scores, or only an order"),
        (["--method", "el2n", "--keep", "0.03", "--balance"], "and none of class 4 (12 samples)"),
        ([], "'--method'"),
    ],
)
def test_a_wrong_choice_is_one_line_and_writes_nothing(tmp_path, scores, capsys, options, error):
    out = tmp_path / "s.parquet"
    assert main(["select", str(scores), *options, "-o", str(out)]) == 2
    assert error in said(capsys)
    assert not list(tmp_path.iterdir())


def test_files_are_overwritten_with_force_only(tmp_path, scores, capsys):
    out = tmp_path / "s.parquet"
    for command in (["select", str(scores), "--method", "el2n"], ["score", *SMALL, "--method", "el2n"]):
        out.write_text("mine")
        assert main([*command, "-o", str(out)]) == 2
        assert f"{out} exists: add --force to overwrite it" in said(capsys)
        assert out.read_text() == "mine"
        assert main([*command, "-o", str(out), "--force"]) == 0
        assert len(pd.read_parquet(out)) == 120
    assert main([*command, "-o", str(tmp_path), "--force"]) == 2
    assert "--out must name a file, got the folder" in said(capsys)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], "--method must name at least one method, got none"),
        (["--method", "ucb"], "--method must be a static method, but ucb is of level epoch"),
        (["--method", "el2n:keep=1"], "--method el2n:keep=1 keeps every sample"),
        (["--method", "el2m"], "Did you mean 'el2n'?"),
        (["--method", "herding", "--runs", "2"], "orders of several runs cannot be combined"),
        (["--method", "el2n", "--runs", "0"], "'--runs'"),
        (["--method", "el2n", "--combine", "max"], "--combine must be one of 'mean', 'sum', 'spread', 'ucb'"),
        (["--method", "el2n:first=9"], "epochs"),
        (["--method", "el2n", "--limit", "5"], "limit must be in"),
    ],
)
def test_a_wrong_score_command_is_one_line_and_writes_nothing(tmp_path, capsys, options, error):
    assert main(["score", *SMALL, *options, "-o", str(tmp_path / "s.parquet")]) == 2
    assert error in said(capsys)
    assert not list(tmp_path.iterdir())


class Killed(BaseException):
    """Nothing catches it on the way out."""


@pytest.mark.parametrize("calls", [2, 7, 12])
def test_killed_scoring_resumes_to_the_same_scores(tmp_path, monkeypatch, scores, capsys, calls):
    out = tmp_path / "scores.parquet"
    write, left = checkpoints.save, iter(range(100))

    def counted(path, state):
        write(path, state)
        if next(left) == calls:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training, "EVERY", 0.0)
        patch.setattr(training, "SPARING", 0)
        patch.setattr(checkpoints, "save", counted)
        with pytest.raises(Killed):
            main(["score", *SMALL, *METHODS, "--runs", "2", "-o", str(out)])
    assert not out.exists()
    assert main(["score", *SMALL, *METHODS, "--runs", "2", "-o", str(out)]) == 2
    assert "exists. Add --resume to continue it" in said(capsys)
    assert main(["score", "--resume", "-o", str(out)]) == 0
    whole, resumed = ScoreTable.read(scores), ScoreTable.read(out)
    assert whole.columns.keys() == resumed.columns.keys()
    for name, column in whole.columns.items():
        assert torch.equal(column, resumed[name]), name
    assert torch.equal(whole.times_selected, resumed.times_selected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.parquet"]


def test_ctrl_c_says_how_to_go_on_scoring(tmp_path, monkeypatch, capsys):
    def interrupted(self, batch, epoch):
        raise KeyboardInterrupt

    out = tmp_path / "scores.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "train_step", interrupted)
        assert main(["score", *SMALL, "--method", "el2n", "-o", str(out)]) == 130
    assert f"samplewise score --out {out} --resume" in capsys.readouterr().err
    assert main(["score", "--out", str(out), "--combine", "mean", "--resume"]) == 0


def test_train_on_a_selected_subset_beside_a_static_method(tmp_path, scores, capsys):
    subset, out = tmp_path / "hard.parquet", tmp_path / "run"
    assert main(["select", str(scores), "--method", "el2n", "--keep", "0.1", "-o", str(subset)]) == 0
    command = ["train", *SMALL, "--seeds", "1", "--method", "full", "--method", "aum:keep=0.5"]
    assert main([*command, "--subset", str(subset), "--out", str(out)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "cost share without scoring" in printed
    assert "include its whole scoring run" in printed
    rows = {row["method"]: row for row in files.read_lines(out / "results.jsonl")}
    assert list(rows) == ["full", "aum:keep=0.5", "hard"]
    assert rows["hard"]["samples_backpropagated"] == 4 * 12
    # Both runs that the scores were averaged over are charged.
    assert rows["hard"]["cost"] == 3 * 4 * 12 + 2 * 720
    assert rows["aum:keep=0.5"]["cost"] == 3 * 4 * 60 + 3 * 4 * 120
    assert "| hard | " in (out / "table.md").read_text()
    assert json.loads((out / "config.json").read_text())["settings"]["subset"] == str(subset)
    assert main(["train", "--resume", "--out", str(out)]) == 0


def test_a_subset_alone_is_trained_on_alone(tmp_path, scores):
    subset, out = tmp_path / "hard.parquet", tmp_path / "run"
    assert main(["select", str(scores), "--method", "el2n", "--keep", "0.25", "-o", str(subset)]) == 0
    command = ["train", *SMALL, "--seeds", "1", "--subset", str(subset), "--strategy", "P"]
    assert main([*command, "--out", str(out)]) == 0
    (row,) = files.read_lines(out / "results.jsonl")
    assert (row["method"], row["epoch"], row["samples_backpropagated"]) == ("hard", 16, 16 * 30)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--subset", "nowhere.parquet"], "nowhere.parquet"),
        (["--strategy", "X"], "--strategy must be one of 'E', 'P', got 'X'"),
        (["--weights", "batchmean"], "Did you mean 'batch_mean'?"),
        (["--normalize", "one"], "--normalize must be one of 'mean1'"),
        (["--coreset-batch-size", "1"], "--coreset-batch-size must be >= 2, got 1"),
        (["--test-every", "0"], "--test-every must be >= 1, got 0"),
        (["--method", "tdds:keep=70"], "tdds.keep must be in (0, 1], got 70. Did you mean 0.7?"),
        (["--method", "random", "--weights", "per_sample"], "random has no scores, or only an order"),
    ],
)
def test_a_wrong_coreset_option_is_one_line_and_writes_nothing(tmp_path, capsys, options, error):
    assert main(["train", *SMALL, *options, "--out", str(tmp_path / "run")]) == 2
    assert error in said(capsys)
    assert not list(tmp_path.iterdir())


def test_a_subset_of_other_data_is_refused(tmp_path, scores, capsys):
    subset = tmp_path / "hard.parquet"
    assert main(["select", str(scores), "--method", "el2n", "-o", str(subset)]) == 0
    capsys.readouterr()
    for limit, error in (
        ("121", "was chosen from 120 samples, but this data set has 121"),
        ("120", "other data"),
    ):
        command = ["train", *SMALL, "--limit", limit, "--subset", str(subset), "--label-noise", "0.5"]
        assert main([*command, "--out", str(tmp_path / "run")]) == 2
        assert error in said(capsys)
    assert not (tmp_path / "run").exists()


def test_how_runs_combine_is_part_of_the_work_that_is_resumed(tmp_path, monkeypatch, capsys):
    out = tmp_path / "s.parquet"
    command = ["score", *SMALL, "--method", "forgetting", "--runs", "2", "-o", str(out)]
    assert main([*command, "--combine", "sum"]) == 0
    whole = ScoreTable.read(out)
    out.unlink()
    train_step, left = training.Run.train_step, iter(range(100))

    def interrupted(self, batch, epoch):
        if next(left) == 6:
            raise KeyboardInterrupt
        train_step(self, batch, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "train_step", interrupted)
        assert main([*command, "--combine", "sum"]) == 130
    capsys.readouterr()
    assert main(["score", "-o", str(out), "--combine", "mean", "--resume"]) == 2
    assert "combine was 'sum', now 'mean'" in said(capsys)
    assert main(["score", "-o", str(out), "--resume"]) == 0
    again = ScoreTable.read(out)
    assert again.provenance["combined"] == whole.provenance["combined"] == "sum"
    assert torch.equal(again["forgetting"], whole["forgetting"])


def test_a_coreset_does_not_replace_its_scores(scores, capsys):
    assert main(["select", str(scores), "--method", "el2n", "-o", str(scores), "--force"]) == 2
    assert "--out must not be the file of scores" in said(capsys)
    assert len(ScoreTable.read(scores)) == 120


def test_score_writes_the_spread_over_its_runs(tmp_path, monkeypatch):
    """It is the sample standard deviation of the runs' own scores."""
    monkeypatch.chdir(tmp_path)
    shared = ["score", *SMALL, "--method", "el2n:at=1"]
    assert main([*shared, "--runs", "2", "--combine", "spread", "-o", "spread.parquet"]) == 0
    assert main([*shared, "--runs", "2", "--combine", "sum", "-o", "sum.parquet"]) == 0
    assert main([*shared, "-o", "first.parquet"]) == 0
    spread, total, first = (
        ScoreTable.read(f"{name}.parquet")["el2n"].double() for name in ("spread", "sum", "first")
    )
    second = total - first
    assert torch.allclose(spread, (first - second).abs() / 2**0.5, atol=1e-6)


def test_scores_of_a_file_s_method_are_selected_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = "def hard(keep: float = 0.5):\n    return recipes.el2n(keep=keep)\n"
    (tmp_path / "mine.py").write_text(f"from samplewise import recipes\n{recipe}")
    options = [*SMALL, "--epochs", "2", "--method", "mine.py:hard:keep=0.3"]
    assert main(["score", *options, "-o", "scores.parquet"]) == 0
    assert main(["select", "scores.parquet", "--method", "hard", "-o", "kept.parquet"]) == 0
    assert len(Subset.read("kept.parquet")) == 36
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main(["select", "../scores.parquet", "--method", "hard", "-o", "other.parquet"]) == 2
    assert "mine.py cannot be read" in said(capsys)
