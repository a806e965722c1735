"""Names that would mean something to what prints, draws or writes them are shown as they are."""

import io

import numpy as np
import pytest

from samplewise.bench.folder import RunFolder
from samplewise.cli import main
from samplewise.report import table
from samplewise.report.summary import summarise

ODD = "] [red]$x$ a|b é"


@pytest.fixture
def data(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    (tmp_path / "[").mkdir()
    path = tmp_path / "[" / f"{ODD}.npz"  # with the folder a tag that closes nothing
    np.savez(path, train_x=x, train_y=np.arange(40) % 2, test_x=x[:4], test_y=np.arange(4) % 2)
    return path


def test_brackets_dollars_and_bars_in_names_are_shown_as_they_are(tmp_path, capsys, data):
    scores, subset, out = (tmp_path / "[" / f"{ODD}{end}" for end in (".scores", ".subset", " 1"))
    small = ["--data", str(data), "--epochs", "1", "--batch-size", "16", "--model", "mlp", "--threads", "1"]
    assert main(["score", *small, "--method", "el2n:first=1", "-o", str(scores)]) == 0
    assert main(["select", str(scores), "--method", "el2n", "--keep", "0.5", "-o", str(subset)]) == 0
    train = ["train", *small, "--seeds", "1", "--subset", str(subset), "--out", str(out)]
    assert main(train) == 0
    said = capsys.readouterr().out
    for line in (
        f"{scores} has scores of 40 samples",
        f"{subset}: 20 of 40",
        f"run folder {out}",
        f"{ODD}, seed 0: ",
    ):
        assert line in said
    assert f"{ODD}: 40 images" in said
    assert f"| {ODD.replace('|', chr(92) + '|')} |" in (out / "table.md").read_text()
    assert main([*train, "--resume"]) == 0
    assert main(["train", "--data", f"{data}[/].npz"]) == 2
    assert f"{data}[/].npz does not exist" in capsys.readouterr().err


def test_a_file_name_for_every_method(tmp_path):
    folder = RunFolder(tmp_path)
    names = ["ucb:keep=0.3", "rho_loss:irreducible=a/b", "rho_loss:irreducible=a_b", "é" * 300, "é" * 301]
    paths = [folder.checkpoint(name, 0) for name in names]
    assert len(set(paths)) == len(names)
    assert paths[0].name == "checkpoint-ucb_keep=0.3-0.pt"
    for path in paths:
        path.write_bytes(b"")


def test_a_method_as_long_as_a_path_trains(tmp_path):
    long = "ucb:keep=0.5,period=1" + " " * 300
    small = ["--limit", "40", "--epochs", "1", "--batch-size", "16", "--model", "mlp", "--threads", "1"]
    assert main(["train", *small, "--seeds", "1", "--method", long, "--out", str(tmp_path / "one")]) == 0


def test_a_table_in_the_terminal_holds_any_name():
    from rich.console import Console

    row = {
        "method": "a[/]b", "test_accuracy": 50.0, "realised": None, "baseline": "not measured",
        "samples_backpropagated": 1, "cost_share": 1.0, "seconds": 1.0, "overhead": 0.0,
    }  # fmt: skip
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(*table.terminal(summarise([row], ["a[/]b"]), "cifar[v2]"))
    said = console.export_text()
    assert "a[/]b" in said
    assert "cifar[v2]" in said
