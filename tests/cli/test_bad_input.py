import subprocess
import sys

import pytest
import torch

import samplewise
from samplewise import recipes
from samplewise.cli import main, options


def leaving(in_channels, classes, image_size):
    """A model file that is a script."""
    sys.exit(3)


def silent(in_channels, classes, image_size):
    """Forgets to return its model."""


def narrow(in_channels, classes, image_size):
    """Made for other images."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(7, classes))


def frozen(in_channels, classes, image_size):
    """Nothing in it can be trained."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes)).requires_grad_(False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "infobach"], "unknown method 'infobach'. Did you mean 'infobatch'?"),
        (["--method", "ucb:keeep=0.3"], "Did you mean 'keep'?"),
        (["--method", "ucb:keep=70"], "must be in (0, 1], got 70. Did you mean 0.7?"),
        (["--method", "ucb:keep=0"], "must be in (0, 1], got 0"),
        (["--method", "full", "--method", "full"], "--method must name each method once, got full twice"),
        (["--epochs", "0"], "--epochs must be in [1, 1000000], got 0"),
        (["--epochs", "2", "--method", "evolved_sampling"], "epochs"),
        (["--batch-size", "1"], "--batch-size must be >= 2, got 1"),
        (["--lr", "0"], "--lr must be > 0, got 0"),
        (["--seeds", "0"], "--seeds must be in [1, 10000], got 0"),
        (["--label-noise", "40"], "--label-noise must be in [0, 1), got 40"),
        (["--noise", "flips"], "--noise must be one of 'uniform', 'flip', got 'flips'."),
        (["--optimizer", "sdg"], "Did you mean 'sgd'?"),
        (["--schedule", "cos"], "--schedule must be one of"),
        (
            ["--schedule", "step", "--milestone", "60"],
            "--milestone must ascend in (0, 1), as shares of the run",
        ),
        (["--schedule", "polynomial", "--power", "-1"], "--power must be > 0, got -1.0."),
        (["--schedule", "cosine", "--warmup", "0.1"], "--warmup needs one of the schedules onecycle"),
        (["--momentum", "1"], "--momentum must be in [0, 1), got 1"),
        (["--weight-decay", "-1"], "--weight-decay must be >= 0, got -1"),
        (["--model", "cnnn"], "Did you mean 'cnn'?"),
        (["--data", "nowhere.npz"], "nowhere.npz does not exist"),
        (["--data", ""], "--data must be digits, a .npz file, a folder or hf:NAME, got ''"),
        (["--data", "hf:"], "--data must be digits, a .npz file, a folder or hf:NAME, got 'hf:'"),
        (["--model", "torch.nn:Identity"], "--model torch.nn:Identity must have trainable parameters"),
        (["--limit", "5"], "limit must be in [10, 1347]"),
        (["--device", "nothing"], "--device nothing cannot be used"),
        (["--epochs", "many"], "'--epochs'"),
        (["--no-such-option"], "--no-such-option"),
        (["--method", "ucb:keep=0.3,keep=0.5"], "'ucb:keep=0.3,keep=0.5': keep is given twice"),
        (["--method", "ucb:keep=0.3, keep =0.5"], "keep is given twice"),
        (["--method", "ucb:keep=" + "(" * 5000], "ucb.keep must be a number or a schedule, got"),
        (["--method", "ucb:keep=" + "1" * 5000], "ucb.keep must be a number or a schedule, got"),
        (["--model", "..x:y"], "got '..x:y'. Use the absolute name of an importable module"),
        (["--model", "models/net.py:build"], "absolute name of an importable module, not a path"),
        (["--model", "os:"], "got 'os:'"),
        (["--model", "os:system"], "must be a function of (in_channels, classes, image_size)"),
        (["--model", "nowhere:build"], "add its folder to PYTHONPATH"),
        (["--model", "os:getpid"], "must be a function of (in_channels, classes, image_size)"),
        (
            ["--model", f"{__name__}:leaving", "--limit", "20"],
            f"--model {__name__}:leaving failed",
        ),
        (["--model", f"{__name__}:silent", "--limit", "20"], "must return a torch.nn.Module, got NoneType"),
        (
            ["--model", f"{__name__}:narrow", "--limit", "20"],
            "cannot train on images of 1 x 8 x 8: RuntimeError",
        ),
        (
            ["--model", f"{__name__}:frozen", "--limit", "20"],
            "must have trainable parameters",
        ),
        (["--threads", "1000000"], "--threads must be in [1, 1024], got 1000000"),
        (["--method", "ccs:strata=" + "9" * 30], "ccs.strata must fit into 64 bits, got 999"),
        (["--method", "auto_assist:lr=" + "9" * 30], "auto_assist.lr must fit into 64 bits, got 999"),
        (["--epochs", "1000000000"], "--epochs must be in [1, 1000000], got 1000000000"),
        (["--seeds", "1000000000"], "--seeds must be in [1, 10000], got 1000000000"),
        (["--workers", "1000000"], "--workers must be in [0, 1024], got 1000000"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, options, said):
    assert main(["train", *options, "--out", str(tmp_path / "one")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) < 1100
    assert not (tmp_path / "one").exists()


def test_an_error_in_a_models_own_code_says_where(capsys):
    assert main(["train", "--model", f"{__name__}:narrow", "--limit", "20", "--method", "full"]) == 2
    error = capsys.readouterr().err
    assert "mat1 and mat2 shapes cannot be multiplied" in error
    assert "linear.py, line" in error


@pytest.mark.parametrize("arguments", [[], ["theory"]])
def test_without_a_command_the_help_is_all(capsys, arguments):
    main(arguments)
    said = capsys.readouterr()
    assert "Usage: samplewise" in said.out + said.err
    assert "error:" not in said.err


def test_python_m_samplewise_is_the_command():
    run = [sys.executable, "-m", "samplewise", "--version"]
    assert (
        subprocess.run(run, capture_output=True, text=True).stdout == f"samplewise {samplewise.__version__}\n"
    )


def test_methods_lists_the_registry(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line for line in lines if ", reads " in line}
    ours = {n: made for n, made in recipes.all().items() if made.__module__.startswith("samplewise.")}
    assert listed.keys() == ours.keys()  # tests register others
    for name, recipe in ours.items():
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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--milestone", "0.5"], "--milestone needs --schedule step, got onecycle"),
        (["--schedule", "cosine", "--factor", "0.2"], "--factor needs --schedule step, got cosine"),
        (["--power", "2"], "--power needs --schedule polynomial"),
        (["--schedule", "torch_onecycle", "--momentum", "0.5"], "--momentum has no effect"),
        (["--noise", "flip"], "--noise flip needs a share of the labels"),
    ],
)
def test_options_without_effect_are_refused(given, said, tmp_path, monkeypatch, capsys):
    """A resumed command is held to the settings of its folder instead."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", *given]) == 2
    assert said in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_an_option_may_be_for_the_schedule_of_one_method():
    given = {"method": ["full", "ucb@schedule=step"], "milestone": [0.4]}
    assert options.settings_of(given, set())[0].milestone == (0.4,)
