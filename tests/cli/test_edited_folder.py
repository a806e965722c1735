"""A run folder that was edited by hand is refused by name, though every file in it can be read."""

import json

import pytest
import torch

from samplewise.bench import files
from samplewise.bench import train as training
from samplewise.cli import main
from samplewise.files import checkpoints
from samplewise.report import pictures

SMALL = ["--limit", "40", "--epochs", "3", "--batch-size", "16", "--model", "mlp", "--threads", "1"]
TRAIN = [
    "train",
    *SMALL,
    "--seeds",
    "1",
    "--optimizer",
    "adamw",
    "--method",
    "full",
    "--method",
    "el2n:first=1",
]


class Killed(BaseException):
    """Stands for a kill."""


def killed_after(monkeypatch, command, saves):
    """Run a command that checkpoints at every step, and kill it."""
    left = [saves]
    write = checkpoints.save

    def counted(path, state):
        write(path, state)
        left[0] -= 1
        if not left[0]:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training, "EVERY", 0.0)
        patch.setattr(training, "SPARING", 0)
        patch.setattr(checkpoints, "save", counted)
        patch.setattr(pictures, "draw", lambda *_: [])
        with pytest.raises(Killed):
            main(command)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        assert main([*TRAIN, "--out", str(folder)]) == 0
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Killed in the second epoch of `full`."""
    folder = tmp_path_factory.mktemp("begun") / "one"
    with pytest.MonkeyPatch.context() as patch:
        killed_after(patch, [*TRAIN, "--out", str(folder)], 6)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def laid(folder, held):
    folder.mkdir()
    for name, content in held.items():
        (folder / name).write_bytes(content)
    return folder


def refused(folder, capsys, said):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    assert main(["train", "--resume", "--out", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert str(folder) in error
    assert said in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def row(**changes):
    return lambda rows: [{**rows[0], **changes}, *rows[1:]]


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("results", lambda rows: [*rows, rows[0]], "two rows have method full, seed 0"),
        ("results", row(seed=-1), "row.seed must be >= 0, got -1"),
        ("results", row(seed=7), "it has a row of full, seed 7, but config.json has no such run"),
        ("results", row(method="ucb"), "it has a row of ucb, seed 0, but config.json has no such run"),
        ("results", row(method=None), "row.method must be text, got None"),
        ("results", row(test_accuracy="99"), "row.test_accuracy must be a number, got '99'"),
        ("results", row(test_accuracy=940), "row.test_accuracy must be in [0, 100], got 940"),
        ("results", row(test_accuracy=float("nan")), "row.test_accuracy must be in [0, 100], got nan"),
        ("results", row(realised=[]), "row.realised must be a number"),
        ("results", row(baseline="guessed"), "row.baseline must be one of"),
        ("results", row(seconds=-1.0), "row.seconds must be >= 0"),
        ("results", lambda rows: [{k: v for k, v in rows[0].items() if k != "cost"}], "a row has no 'cost'"),
        ("curves", lambda rows: [*rows, rows[-1]], "two rows have method el2n:first=1, seed 0, epoch 3"),
        ("results", row(epoch=9), "a row of full, seed 0 has epoch 9, but the run has 3 epochs"),
        ("results", row(epoch=2), "full, seed 0 ends after epoch 2 of 3"),
        ("results", row(n=39), "full, seed 0 has n = 39 samples, but config.json has 40"),
        ("curves", row(epoch=9), "a row of full, seed 0 has epoch 9, but the run has 3 epochs"),
        ("curves", row(epoch=0), "row.epoch must be >= 1, got 0"),
        ("curves", row(samples_backpropagated=None), "row.samples_backpropagated must be a whole number"),
        ("curves", lambda rows: rows[:2], "the last epoch of full, seed 0 is missing"),
        ("curves", lambda rows: [], "the last epoch of full, seed 0 is missing"),
    ],
)
def test_a_row_out_of_its_range_or_there_twice_is_refused(tmp_path, finished, capsys, name, edit, said):
    folder = laid(tmp_path / "one", finished)
    file = folder / f"{name}.jsonl"
    files.write_lines(file, edit(files.read_lines(file)))
    refused(folder, capsys, f"{name}.jsonl is damaged: {said}")


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("settings", "epochs", -3, "must be in [1, 1000000], got -3"),
        ("settings", "data", 5, "must be text, got 5"),
        ("settings", "model", ["mlp"], "must be text, got ['mlp']"),
        ("settings", "method", "full", "config.json is damaged: method must not be 'full'"),
        ("settings", "method", [5], "must be text, got 5"),
        ("settings", "method", None, "is damaged"),
        ("settings", "device", [], "must be text, got []"),
        ("settings", "subset", 3, "must be text, got 3"),
        ("settings", "score_model", True, "must be text, got True"),
        ("settings", "image_column", {}, "must be text, got {}"),
        ("settings", "threads", 10**9, "must be in [1, 1024]"),
        ("data", "train", "many", "row.train must be a whole number"),
        ("data", "name", None, "row.name must be text"),
    ],
)
def test_an_edited_configuration_is_refused(tmp_path, finished, capsys, part, key, value, said):
    folder = laid(tmp_path / "one", finished)
    config = json.loads((folder / "config.json").read_text())
    config[part][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, capsys, said)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"format": "samplewise run 2", "data": 3}'])
def test_a_configuration_of_another_form_is_refused(tmp_path, finished, capsys, text):
    folder = laid(tmp_path / "one", finished)
    (folder / "config.json").write_text(text)
    refused(folder, capsys, "config.json is damaged")


def test_rows_nested_too_deep_are_refused(tmp_path, finished, capsys):
    folder = laid(tmp_path / "one", finished)
    (folder / "results.jsonl").write_text("[" * 10**5)
    refused(folder, capsys, "results.jsonl is damaged")


def first(state, key, value):
    held = state["optimizer"]["state"][0]
    held[key] = value(held[key])


def weights(state, value):
    name = next(iter(state["model"]))
    state["model"][name] = value(state["model"][name])


def numpy_position(state, place):
    state["random"]["numpy"][1] = place


CHECKPOINTS = {
    "done": (lambda s: s.update(done=9), "done must be in [0, 3], got 9"),
    "negative": (lambda s: s.update(done=-1), "done must be in [0, 3], got -1"),
    "other epoch": (lambda s: s.update(done=2), "the (epoch, epochs) of the curve must be [(1, 3), (2, 3)]"),
    "no steps": (lambda s: s.update(step=0), "but is in epoch 1"),
    "step": (lambda s: s.update(step="2"), "step must be >= 0, got '2'"),
    "cpu": (lambda s: s.update(cpu=float("nan")), "cpu must be >= 0, got nan"),
    "curve": (lambda s: s.update(curve=[]), "the (epoch, epochs) of the curve must be [(1, 3)], got []"),
    "curve row": (lambda s: s["curve"][0].pop("cost"), "a row has no 'cost'"),
    "curve value": (lambda s: s["curve"][0].update(cost=-1), "row.cost must be >= 0"),
    "curve kind": (lambda s: s.update(curve={"a": 1}), "the curve must be a list"),
    "part": (lambda s: s.pop("random"), "it must hold exactly model, optimizer"),
    "weights": (lambda s: weights(s, lambda w: w * torch.nan), "must be finite"),
    "shape": (lambda s: weights(s, lambda w: w[:1]), "must be (256, 64) of torch.float32"),
    "kind": (lambda s: weights(s, lambda w: w.double()), "got (256, 64) of torch.float64"),
    "no tensor": (lambda s: weights(s, lambda w: 1.0), "must be a tensor, got float"),
    "moment": (lambda s: first(s, "exp_avg", lambda m: m[:1]), "exp_avg must be (256, 64)"),
    "infinite": (lambda s: first(s, "exp_avg", lambda m: m / 0), "exp_avg must be finite"),
    "below": (lambda s: first(s, "exp_avg_sq", lambda m: m - 1), "exp_avg_sq of parameter 0 must be >= 0"),
    "lacking": (lambda s: s["optimizer"]["state"][0].pop("exp_avg"), "state of parameter 0 must hold"),
    "stranger": (lambda s: s["optimizer"]["state"].update({99: {}}), "got one of 99"),
    "decay": (lambda s: s["optimizer"]["param_groups"][0].update(weight_decay=9.0), "weight_decay must be"),
    "rate": (lambda s: s["optimizer"]["param_groups"][0].update(lr="fast"), "lr must be >= 0, got 'fast'"),
    "groups": (lambda s: s["optimizer"].update(param_groups=[]), "does not fit this run"),
    "numpy": (lambda s: numpy_position(s, 10**6), "numpy's random state"),
    "torch": (lambda s: s["random"].update(torch=torch.zeros(3)), "does not fit this run"),
    "python": (lambda s: s["random"].update(python=[3, torch.zeros(2), None]), "does not fit this run"),
}


@pytest.mark.parametrize("way", CHECKPOINTS)
def test_a_checkpoint_that_no_run_of_these_settings_writes_is_refused(tmp_path, begun, capsys, way):
    folder = laid(tmp_path / "one", begun)
    path = folder / "checkpoint-full-0.pt"
    edit, said = CHECKPOINTS[way]
    state = checkpoints.load(path)
    edit(state)
    checkpoints.save(path, state)
    refused(folder, capsys, said)


def test_a_checkpoint_of_a_scoring_run_with_a_curve_is_refused(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "one"
    killed_after(
        monkeypatch, ["train", *SMALL, "--seeds", "1", "--method", "el2n:first=2", "--out", str(folder)], 2
    )
    path = folder / "checkpoint-scoring-0.pt"
    state = checkpoints.load(path)
    checkpoints.save(path, {**state, "curve": [{"epoch": 1}]})
    refused(folder, capsys, "a row has no")


def test_a_look_of_irreducible_without_its_losses_is_refused(tmp_path, monkeypatch, capsys):
    out = tmp_path / "il.parquet"
    command = ["score", *SMALL, "--method", "irreducible", "-o", str(out)]
    killed_after(monkeypatch, command, 4)
    path = tmp_path / "il.parquet.work" / "checkpoint-irreducible-a-0.pt"
    whole = checkpoints.load(path)
    for changes in ({"losses": None}, {"losses": torch.zeros(2)}, {"loss": None}, {"epoch": 2}):
        checkpoints.save(path, {**whole, "curve": [{**whole["curve"][0], **changes}]})
        assert main([*command, "--resume"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "does not fit this run: " in error
    checkpoints.save(path, whole)
    assert main([*command, "--resume"]) == 0
