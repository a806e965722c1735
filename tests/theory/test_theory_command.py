"""`samplewise theory perceptron`: its files, its table, and its errors in one line."""

import importlib
import json
from math import radians

import pytest

from samplewise.cli import main
from samplewise.report import perceptron as picture
from samplewise.theory.perceptron import compare, linear_keeps

SMALL = ["--dimension", "20", "--repeats", "2"]


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(picture, "draw", lambda columns, title, said, file: file.write(b""))


def run(folder, *options):
    return main(["theory", "perceptron", *SMALL, "--out", str(folder), *options])


def test_the_command_writes_what_compare_gives_and_draws_it(tmp_path, capsys):
    assert run(tmp_path / "one", "--stages", "3") == 0
    said = capsys.readouterr().out
    written = json.loads((tmp_path / "one" / "perceptron.json").read_text())
    settings = written["settings"]
    assert (settings["alpha"], settings["keep"], settings["theta"]) == (3.2, [0.6], 40.0)
    by_schedule = {}
    for row in written["rows"]:
        by_schedule.setdefault(row["schedule"], []).append(row)
    constant, linear = by_schedule.values()
    for rows, keeps in ((constant, (0.6,) * 3), (linear, linear_keeps(0.6, 3))):
        expected = compare(3.2, keeps, radians(40), 20, 2, seed=0)
        for kind in ("recursion", "static"):
            found = [row["error"] for row in rows if row["kind"] == kind]
            assert found == [solved.error for solved in getattr(expected, kind)]
        for kind in ("fresh", "same"):
            found = [(row["error"], row["standard_error"]) for row in rows if row["kind"] == kind]
            assert found == [tuple(stage.error) for stage in getattr(expected, kind)]
        for solved in expected.recursion:
            assert f"{100 * solved.error:.2f}" in said
    assert "28.3 % of it" in said
    picture = (tmp_path / "one" / "perceptron.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert not list((tmp_path / "one").glob(".*"))


def test_several_shares_are_the_stages(tmp_path, undrawn):
    assert run(tmp_path, "--keep", "0.9", "--keep", "0.4", "--margin", "signed") == 0
    rows = json.loads((tmp_path / "perceptron.json").read_text())["rows"]
    assert [row["keep"] for row in rows if row["kind"] == "same"] == [0.9, 0.4]


def test_without_a_folder_it_takes_the_next_free_one(tmp_path, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)
    command = ["theory", "perceptron", *SMALL, "--stages", "1", "--schedule", "constant"]
    assert main(command) == main(command) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["perceptron-1", "perceptron-2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "70"], "must be in [0.05, 1], got 70.0. Did you mean 0.7?"),
        (["--alpha", "0"], "--alpha must be in [0.1, 50], got 0.0"),
        (["--theta", "100"], "--theta must be in [0, 89], got 100.0"),
        (["--schedule", "lin"], "--schedule must be one of 'constant', 'linear', 'both', got 'lin'"),
        (["--margin", "unsinged"], "Did you mean 'unsigned'?"),
        (["--stages", "0"], "--stages must be in [1, 10000], got 0"),
        (["--stages", "9" * 30], "--stages must fit into 64 bits"),
        (["--repeats", "1000000000"], "--repeats must be in [2, 1000000], got 1000000000"),
        (["--repeats", "1"], "--repeats must be in [2, 1000000], got 1"),
        (["--keep", "0.5", "--keep", "0.4", "--stages", "3"], "--stages goes with one --keep"),
        (["--keep", "0.5", "--keep", "0.4", "--schedule", "linear"], "--schedule goes with one --keep"),
        (["--keep", "0.5", "--stages", "60"], "ends at 0.0164 after 60 stages"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, options, said):
    assert run(tmp_path / "one", *options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "one").exists()


def test_files_are_not_overwritten_unless_told(tmp_path, capsys, undrawn):
    (tmp_path / "perceptron.png").write_text("mine")
    assert run(tmp_path) == 2
    assert "add --force to overwrite it" in capsys.readouterr().err
    assert (tmp_path / "perceptron.png").read_text() == "mine"
    assert run(tmp_path, "--force", "--stages", "1", "--schedule", "constant") == 0
    assert run(tmp_path / "perceptron.json") == 2
    assert "is a file. Choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(("module", "extra"), [("scipy", "theory"), ("matplotlib", "report")])
def test_a_missing_extra_is_named_before_anything_runs(tmp_path, monkeypatch, capsys, module, extra):
    real = importlib.import_module

    def without(name, *rest):
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    assert run(tmp_path / "one") == 2
    assert f"samplewise[{extra}]" in capsys.readouterr().err
    assert not (tmp_path / "one").exists()
