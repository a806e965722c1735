import pytest

from samplewise import recipes
from samplewise.cli import main


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "infobach"], "unknown method 'infobach'. Did you mean 'infobatch'?"),
        (["--method", "ucb:keeep=0.3"], "Did you mean 'keep'?"),
        (["--method", "ucb:keep=70"], "must be in (0, 1], got 70. Did you mean 0.7?"),
        (["--method", "ucb:keep=0"], "must be in (0, 1], got 0"),
        (["--method", "full", "--method", "full"], "--method full is given twice"),
        (["--epochs", "0"], "--epochs must be >= 1, got 0"),
        (["--epochs", "2", "--method", "evolved_sampling"], "epochs"),
        (["--batch-size", "1"], "--batch-size must be >= 2, got 1"),
        (["--lr", "0"], "--lr must be > 0, got 0"),
        (["--seeds", "0"], "--seeds must be >= 1"),
        (["--label-noise", "40"], "--label-noise must be in [0, 1), got 40"),
        (["--noise", "flips"], "--noise must be one of 'uniform', 'flip', got 'flips'."),
        (["--optimizer", "sdg"], "Did you mean 'sgd'?"),
        (["--schedule", "cos"], "--schedule must be one of"),
        (["--model", "cnnn"], "Did you mean 'cnn'?"),
        (["--data", "nowhere.npz"], "nowhere.npz does not exist"),
        (["--limit", "5"], "limit must be in [10, 1347]"),
        (["--device", "nothing"], "--device nothing cannot be used"),
        (["--epochs", "many"], "'--epochs'"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, options, said):
    assert main(["train", *options, "--out", str(tmp_path / "one")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "one").exists()


def test_methods_lists_the_registry(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line for line in lines if line[:2].strip().isalpha()}
    listed.pop("method")
    assert listed.keys() == recipes.all().keys()
    for name, recipe in recipes.all().items():
        assert recipe.level in listed[name]
        assert recipe.source in listed[name]


def test_help_and_version_work(capsys):
    for arguments in (
        ["--help"],
        ["train", "--help"],
        ["--version"],
        ["methods", "--help"],
        ["score", "--help"],
        ["select", "--help"],
    ):
        assert main(arguments) == 0
    assert "samplewise" in capsys.readouterr().out


@pytest.mark.parametrize(("module", "extra"), [("typer", "cli"), ("rich", "cli"), ("matplotlib", "report")])
def test_a_missing_extra_is_named_before_anything_runs(tmp_path, monkeypatch, capsys, module, extra):
    import importlib

    real = importlib.import_module

    def without(name, *rest):
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    assert main(["train", "--epochs", "1", "--out", str(tmp_path / "one")]) == 2
    error = capsys.readouterr().err
    assert module in error
    assert f"samplewise[{extra}]" in error
    assert not (tmp_path / "one").exists()
