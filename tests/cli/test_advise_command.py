"""`samplewise advise`: the table, the file, the errors."""

import json

import numpy as np
import pytest

from samplewise.cli import main
from tests.cli.narrow import WIDTH, no_digit_is_lost, plain


@pytest.fixture
def data(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (64, 8, 8), dtype=np.uint8)
    path = tmp_path / "small.npz"
    np.savez(path, train_x=x, train_y=np.arange(64) % 4, test_x=x[:8], test_y=np.arange(8) % 4)
    return path


def given(data, *more):
    small = ["--data", str(data), "--model", "cnn", "--batch-size", "16", "--epochs", "4", "--threads", "1"]
    return ["advise", *small, "--seconds", "1", *more]


def test_it_prints_the_table_and_the_sentence_and_writes_the_numbers(tmp_path, capsys, data, monkeypatch):
    for name, value in WIDTH.items():  # every digit is there in 80 columns
        monkeypatch.setenv(name, value)
    out = tmp_path / "advice.json"
    command = given(data, "--method", "infobatch", "--method", "loss_sampling:keep=0.5", "--augment")
    assert main([*command, "--out", str(out)]) == 0
    said = plain(capsys.readouterr().out)
    no_digit_is_lost(said)
    assert "keep=0.5" in said
    assert said.rstrip().endswith("This predicts time, never accuracy.")
    found = json.loads(out.read_text())
    assert found["batch_size"] == 16
    assert found["n"] == 64
    assert {row["scoring"] for row in found["rows"] if row["method"] == "loss_sampling:keep=0.5"} >= {
        "full", "bf16", "every=2",
    }  # fmt: skip
    assert not any(row["lacks"] for row in found["rows"])
    assert main([*command, "--out", str(out)]) == 2
    assert "exists: add --force" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["advice.json", "small.npz"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--batch-size", "65"], "--batch-size must be in [2, 64], the number of samples, got 65"),
        (["--seconds", "0"], "--seconds must be in (0, 3600], got 0"),
        (["--method", "infobach"], "Did you mean 'infobatch'?"),
        (["--method", "ucb@lr=0.1"], "all methods share one measurement"),
        (["--model", "hf:some"], "measures image models"),
        (["--model", "cnnn"], "Did you mean 'cnn'?"),
        (["--at", "nowhere"], "must name a module of the model"),
        (["--device", "cuda"], "--device cuda cannot be used"),
    ],
)
def test_bad_options_give_one_line(capsys, data, more, said):
    assert main(given(data, *more)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
