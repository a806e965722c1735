"""`samplewise train` on texts: what it writes, how it continues, and what it refuses in one line."""

import json

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from samplewise.bench.folder import RunFolder
from samplewise.cli import main
from tests.bench import texts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    texts.encoder(folder / "encoder")
    texts.write(folder)
    texts.pairs(folder)
    return folder


def command(made, name="task", *more):
    data, model = made / f"{name}-train.parquet", f"hf:{made / 'encoder'}"
    usual = ["--epochs", "1", "--seeds", "1", "--batch-size", "8", "--max-length", "16", "--device", "cpu"]
    return ["train", "--data", str(data), "--model", model, *usual, *map(str, more)]


def test_classes_with_a_coreset_and_a_kept_model(made, tmp_path, capsys):
    methods = ("--method", "full", "--method", "el2n:keep=0.5", "--save-model", "--log", "csv")
    methods += ("--out", tmp_path / "run")
    assert main(command(made, "task", *methods)) == 0
    rows = {row["method"]: row for row in RunFolder(tmp_path / "run").results()}
    assert rows["full"]["cost"] == 3 * 40
    assert rows["el2n:keep=0.5"]["cost_without_scoring"] == 3 * 20
    assert {"test_accuracy", "test_matthews", "test_worst_class", "best_accuracy"} <= set(rows["full"])
    log = (tmp_path / "run" / "log-full-0.csv").read_text().splitlines()
    assert len(log) == 2
    assert log[1].startswith("0,1.0,")
    shown = capsys.readouterr().out
    assert "task-train: 40 texts" in shown
    kept = tmp_path / "run" / "model-el2n_keep=0.5-0"
    assert AutoModelForSequenceClassification.from_pretrained(kept).config.num_labels == 2
    assert len(AutoTokenizer.from_pretrained(kept)) == len(texts.WORDS)


def test_numbers_and_a_run_that_is_continued(made, tmp_path, capsys):
    """The second method is missing, as after a kill: its run is done again, and the first is kept."""
    out = tmp_path / "run"
    words = command(made, "pairs", "--method", "full", "--method", "infobatch", "--out", out)
    assert main(words) == 0
    results = (out / "results.jsonl").read_text()
    assert "test Pearson correlation" in " ".join(capsys.readouterr().out.split())
    row = json.loads(results.splitlines()[1])
    assert (row["method"], row["best_pearson"]) == ("infobatch", row["test_pearson"])
    for name in ("results.jsonl", "curves.jsonl"):
        (out / name).write_text((out / name).read_text().splitlines(keepends=True)[0])
    assert main([*words, "--resume"]) == 0
    again = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [r["test_pearson"] for r in again] == [
        json.loads(line)["test_pearson"] for line in results.splitlines()
    ]
    assert again[0] == json.loads(results.splitlines()[0])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("--method", "moderate:keep=0.5"),
            "moderate:keep=0.5 needs features, which the Trainer does not give",
        ),
        (("--image-column", "x"), "--image-column needs images"),
        (("--text-column", "label"), "--text-column must hold text and no labels"),
        (("--max-length", "17"), "--max-length must be at most 16"),
        (("--data", "digits"), "--data must be a Parquet file"),
        (("--model", "hf:no/where/at/all"), "but no/where/at/all does not exist"),
        (("--model", "cnn"), "--max-length needs a text encoder, got --model cnn"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(made, tmp_path, capsys, more, said):
    out = tmp_path / "run"
    assert main(command(made, "task", "--method", "full", *more, "--out", out)) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
