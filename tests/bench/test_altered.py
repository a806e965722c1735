"""Uneven classes, fewer samples, wrong labels and corrupted images as options of a run."""

import json

import numpy as np
import pytest
import torch

from samplewise.bench import files
from samplewise.bench.altered import altered, described
from samplewise.bench.experiment import load_data
from samplewise.bench.folder import RunFolder
from samplewise.bench.settings import ADDED, Settings
from samplewise.cli import main
from samplewise.report import pictures

SMALL = [
    "train",
    "--epochs",
    "1",
    "--batch-size",
    "32",
    "--threads",
    "1",
    "--model",
    "mlp",
    "--device",
    "cpu",
]


@pytest.fixture(autouse=True)
def unpictured(monkeypatch):
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(pictures, "draw", lambda *_: [])


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A file with 40, 30 and 20 images of three classes; each image has its own pixels."""
    y = np.repeat(np.arange(3), (40, 30, 20))
    x = np.random.default_rng(0).integers(0, 256, (90, 8, 8), dtype=np.uint8)
    path = tmp_path_factory.mktemp("data") / "three.npz"
    np.savez(path, train_x=x, train_y=y, test_x=x[::9], test_y=y[::9])
    return str(path)


def rows_of(part, whole):
    """For each image of `part` its row in `whole`."""
    known = {image.numpy().tobytes(): row for row, image in enumerate(whole)}
    return [known[image.numpy().tobytes()] for image in part]


def test_without_options_the_data_are_the_same_object(three):
    data = load_data(Settings(data=three))
    assert altered(data, Settings(data=three), 3) is data


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"imbalance": (1, 0.5, 0.1)}, [40, 15, 2]),
        ({"imbalance": (0.26, 1, 1)}, [11, 30, 20]),  # dropped are floor(0.74 x 40) = 29
        ({"per_class": 20}, [20, 20, 20]),
        ({"per_class": 1}, [1, 1, 1]),
    ],
)
def test_classes_have_the_sizes_asked_for_and_their_own_images(three, options, sizes):
    data = load_data(Settings(data=three))
    found = [altered(data, Settings(data=three, **options), seed) for seed in (0, 0, 1)]
    for one in found:
        assert torch.bincount(one.train_y).tolist() == sizes
        rows = rows_of(one.train_x, data.train_x)
        assert rows == sorted(set(rows))
        assert data.train_y[rows].tolist() == one.train_y.tolist()
        pixels = one.train_x.double()
        assert (float(one.mean), float(one.std)) == pytest.approx(
            (float(pixels.mean()), float(pixels.std(correction=0))), rel=1e-5
        )
        assert torch.equal(one.test_x, data.test_x)
    first, again, other = (one.train_x for one in found)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("kind", "each"), [("all", 3), ("fog", 18)])
def test_the_share_of_images_is_corrupted_and_no_label(three, kind, each):
    data, settings = (
        load_data(Settings(data=three)),
        Settings(data=three, image_corruption=0.2, corruption=kind),
    )
    first, again, other = (altered(data, settings, seed) for seed in (0, 0, 1))
    spoilt = (first.train_x != data.train_x).flatten(1).any(1)
    assert int(spoilt.sum()) == (5 * each if kind == "all" else each)
    assert torch.equal(first.train_y, data.train_y)
    assert torch.equal(first.test_x, data.test_x)
    assert torch.equal(first.train_x, again.train_x)
    assert not torch.equal(first.train_x, other.train_x)


def test_label_noise_is_a_share_of_the_drawn_samples_and_the_same_as_before(three):
    data = load_data(Settings(data=three))
    both = altered(data, Settings(data=three, per_class=20, label_noise=0.25), 4)
    alone = altered(data, Settings(data=three, per_class=20), 4)
    assert torch.equal(both.train_x, alone.train_x)
    assert int((both.train_y != alone.train_y).sum()) == 15


def test_runs_have_the_altered_data_and_the_folder_says_so(tmp_path, three, capsys):
    options = [
        "--data",
        three,
        "--imbalance",
        "1,0.5,0.25",
        "--image-corruption",
        "0.5",
        "--label-noise",
        "0.1",
    ]
    command = [*SMALL, *options, "--seeds", "2", "--method", "full", "--method", "random:keep=0.5"]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    assert "60 images, mlp, uneven classes, 10% uniform label noise, 50% of the images corrupted (all)" in (
        capsys.readouterr().out
    )
    rows = files.read_lines(tmp_path / "one" / "results.jsonl")
    assert [row["n"] for row in rows] == [60] * 4
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    assert config["data"]["train"] == 60
    assert config["settings"]["imbalance"] == [1, 0.5, 0.25]
    assert main([*command, "--resume", "--out", str(tmp_path / "one")]) == 0
    assert main([*SMALL, "--resume", "--imbalance", "1,1,1", "--out", str(tmp_path / "one")]) == 2


def test_score_alters_the_data_as_train_does(tmp_path, three):
    data = ["--data", three, "--per-class", "10", "--image-corruption", "0.3", "--corruption", "fog"]
    score = ["score", *SMALL[1:], *data, "--method", "el2n:first=1", "-o", str(tmp_path / "s.parquet")]
    assert main(score) == 0
    select = ["select", str(tmp_path / "s.parquet"), "--method", "el2n", "--keep", "0.5"]
    assert main([*select, "-o", str(tmp_path / "half.parquet")]) == 0
    train = [*SMALL, *data, "--seeds", "1", "--subset", str(tmp_path / "half.parquet")]
    assert main([*train, "--out", str(tmp_path / "one")]) == 0
    assert files.read_lines(tmp_path / "one" / "results.jsonl")[0]["samples_backpropagated"] == 15
    # The same samples without the fog are other data.
    other = [word for word in train if word not in ("--image-corruption", "0.3", "--corruption", "fog")]
    assert main([*other, "--out", str(tmp_path / "two")]) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--imbalance", "1,half,1"], "--imbalance must be numbers with commas between them"),
        (["--imbalance", "1,0,1"], "--imbalance[1] must be in (0, 1], got 0.0"),
        (["--imbalance", "1,50,1"], "got 50.0. Did you mean 0.5?"),
        (
            ["--imbalance", "1,0.5"],
            "--imbalance must have one share for each of the 3 classes of three, got 2",
        ),
        (["--per-class", "0"], "--per-class must be >= 1, got 0"),
        (["--per-class", "21"], "--per-class must be at most 20, the number of training images of class 2"),
        (["--per-class", "5", "--imbalance", "1,1,1"], "Give one of them"),
        (["--image-corruption", "40"], "--image-corruption must be in [0, 1], got 40"),
        (["--image-corruption", "0.4", "--corruption", "frog"], "Did you mean 'fog'?"),
        (["--corruption", "fog"], "--corruption fog needs a share of the images. Give --image-corruption"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, capsys, three, options, said):
    assert main([*SMALL, "--data", three, *options, "--method", "full", "--out", str(tmp_path / "one")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((20, 5)), "needs 8-bit images, but held holds vectors"),
        (np.zeros((20, 8, 8), np.float32), "needs 8-bit images, but held holds float32 images"),
        (
            np.zeros((20, 7, 7), np.uint8),
            "needs images of at least 8 pixels a side, but those of held have 7",
        ),
    ],
)
def test_data_that_cannot_be_corrupted_are_refused(tmp_path, capsys, x, said):
    x = x + np.arange(20, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    path = tmp_path / "held.npz"
    np.savez(path, train_x=x, train_y=np.arange(20) % 2, test_x=x, test_y=np.arange(20) % 2)
    command = [*SMALL, "--data", str(path), "--image-corruption", "0.2", "--method", "full"]
    assert main([*command, "--out", str(tmp_path / "one")]) == 2
    assert f"--image-corruption {said}" in capsys.readouterr().err


def test_a_folder_without_the_new_settings_is_read_with_their_defaults(tmp_path, three):
    command = [*SMALL, "--data", three, "--method", "full", "--seeds", "1", "--out", str(tmp_path / "one")]
    assert main(command) == 0
    file = tmp_path / "one" / "config.json"
    config = json.loads(file.read_text())
    for name in ADDED:
        del config["settings"][name]
    file.write_text(json.dumps(config))
    assert (
        RunFolder(tmp_path / "one").settings()
        == Settings(
            data=three,
            method=("full",),
            seeds=1,
            epochs=1,
            batch_size=32,
            threads=1,
            model="mlp",
            device="cpu",
        ).resolved()
    )
    assert main([*command, "--resume"]) == 0
    del config["settings"]["epochs"]
    file.write_text(json.dumps(config))
    assert main([*command, "--resume"]) == 2


def test_titles_name_what_was_changed():
    assert described(Settings()) == ""
    assert described(Settings(per_class=1000)) == ", 1,000 of each class"
