"""`--data` of other people: what is read trains and resumes, what is not read is one line and exit code 2."""

import json
import os

import numpy as np
import pytest

from samplewise.cli import main
from tests.bench.images import both, colour, encoded, grey, tree

pytest.importorskip("datasets")


def train(data, out, *options):
    quick = "--model mlp --method full --epochs 1 --seeds 1 --device cpu --batch-size 8"
    return main(["train", "--data", str(data), *quick.split(), "--out", str(out), *options])


def config(out):
    return json.loads((out / "config.json").read_text())


def npz(path, x, **arrays):
    y = np.arange(len(x)) % 2
    np.savez(path, **({"train_x": x, "train_y": y, "test_x": x, "test_y": y} | arrays))
    return path


def refused(code, out, capsys, said):
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not out.exists()


def test_columns_and_size_are_stored_and_hold_on_resume(tmp_path, capsys):
    images = [colour(8, 10) if i % 3 else grey(9) for i in range(12)]
    grade = [i % 4 for i in range(12)]
    data, out = (
        both(tmp_path / "set", images=images, label=[i % 3 for i in range(12)], grade=grade),
        tmp_path / "out",
    )
    chosen = ("--label-column", "grade", "--image-column", "image", "--size", "6")
    assert train(data, out, *chosen) == 0
    held = config(out)
    assert (held["data"]["classes"], held["data"]["image"]) == (4, [3, 6, 6])
    assert [held["settings"][key] for key in ("label_column", "image_column", "size")] == [
        "grade",
        "image",
        6,
    ]
    assert main(["train", "--out", str(out), "--resume"]) == 0
    capsys.readouterr()
    assert main(["train", "--out", str(out), "--resume", "--label-column", "label"]) == 2
    assert "label_column was 'grade', now 'label'" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-3", "1000000"])
def test_a_size_out_of_range_is_refused(tmp_path, capsys, size):
    refused(
        train("digits", tmp_path / "out", "--size", size),
        tmp_path / "out",
        capsys,
        "--size must be in [1, 4096]",
    )


def test_scores_take_the_same_options(tmp_path):
    data = both(tmp_path / "set", images=[grey(8, 9) for _ in range(12)], a=[i % 2 for i in range(12)])
    options = "--label-column a --size 4 --model mlp --method el2n --epochs 2 --device cpu --batch-size 8"
    out = tmp_path / "scores.parquet"
    assert main(["score", "--data", data, *options.split(), "-o", str(out)]) == 0
    assert out.exists()


def test_a_folder_of_images_trains_and_the_names_of_its_classes_are_kept(tmp_path):
    assert train(tree(tmp_path / "set", ("train", "val"), n=6), tmp_path / "out") == 0
    held = config(tmp_path / "out")["data"]
    assert (held["class_names"], held["test_split"], held["train"]) == (["ant", "bee"], "val", 12)


def test_vectors_train_the_mlp_and_no_other_network(tmp_path, capsys):
    data, out = npz(tmp_path / "a.npz", np.random.default_rng(0).normal(50, 9, (16, 5))), tmp_path / "out"
    for options, said in (
        (("--model", "cnn"), "--model cnn takes images"),
        (("--score-model", "resnet18"), "--score-model resnet18 takes images"),
        (("--augment",), "--augment needs images"),
        (("--size", "4"), "--size needs images"),
    ):
        refused(train(data, out, *options), out, capsys, said)
    assert train(data, out) == 0
    assert config(out)["data"]["mean"] == pytest.approx(np.load(data)["train_x"].mean(0).tolist(), rel=1e-5)


@pytest.mark.parametrize("side", [1, 2])
def test_the_default_network_needs_two_pixels(tmp_path, capsys, side):
    data, out = npz(tmp_path / "a.npz", np.zeros((16, side, side), np.uint8)), tmp_path / "out"
    code = train(data, out, "--model", "cnn")
    if side == 1:
        refused(code, out, capsys, "cnn needs images of at least 2 pixels, got 1. Use --size 2 or more.")
    else:
        assert code == 0


def null(images):
    images[5] = None


def pipe(images):
    os.mkfifo("pipe")
    images[5] = {"bytes": None, "path": "../pipe"}


def bomb(images):
    """A header that promises 60,000 x 60,000 pixels."""
    raw = bytearray(encoded(grey()))
    raw[16:24] = (60_000).to_bytes(4, "big") * 2
    from zlib import crc32

    raw[29:33] = crc32(raw[12:29]).to_bytes(4, "big")
    images[5] = bytes(raw)


def words(images):
    images[5] = b"no image"


def sizes(images):
    images[5] = encoded(grey(9))


@pytest.mark.parametrize("spoil", [null, pipe, bomb, words, sizes])
@pytest.mark.parametrize("hub", [False, True], ids=["folder", "hub"])
def test_a_bad_row_is_one_line_that_names_it(tmp_path, monkeypatch, capsys, spoil, hub):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.chdir(tmp_path)
    images = [encoded(grey()) for _ in range(12)]
    spoil(images)
    both(tmp_path / "set", images=images)
    refused(train("hf:set" if hub else "set", tmp_path / "out"), tmp_path / "out", capsys, "image 5")
