"""Parquet files, folders of images and the hub's form, read into the same images and labels."""

import json
import os
import shutil
import socket

import numpy as np
import pytest
import torch

from samplewise.bench import data
from tests.bench.images import both, colour, encoded, grey, table, tree

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Nothing goes to a server, and nothing into the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def refused(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def test_class_labels_in_the_metadata_of_parquet_files_are_followed(tmp_path):
    from PIL import Image

    features = datasets.Features(
        {
            "image_id": datasets.Value("int64"),
            "image": datasets.Image(),
            "species": datasets.ClassLabel(names=["b", "a"]),
        }
    )
    for split in ("train", "test"):
        rows = {
            "image_id": range(6),
            "image": [Image.fromarray(grey()) for _ in range(6)],
            "species": [i % 2 for i in range(6)],
        }
        (tmp_path / "set").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "set" / f"{split}.parquet")
    for source in (str(tmp_path / "set"), f"hf:{tmp_path / 'set'}"):
        loaded = data.load(source)
        assert (loaded.classes, loaded.class_names) == (2, ("b", "a"))
        assert loaded.train_y.tolist() == [0, 1] * 3
        assert data.load(source, label_column="image_id").classes == 6


def numbered(path, names):
    """A Parquet file whose metadata number the classes in the order of `names`."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = {"image": [{"bytes": encoded(grey()), "path": None}] * 4, "label": [0, 1, 0, 1]}
    path.parent.mkdir(exist_ok=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)


def test_files_of_one_split_that_number_their_classes_differently_are_refused(tmp_path):
    folder = tmp_path / "set"
    numbered(folder / "train-0.parquet", ["cat", "dog"])
    numbered(folder / "train-1.parquet", ["dog", "cat"])
    numbered(folder / "test.parquet", ["cat", "dog"])
    for source in (str(folder), f"hf:{folder}"):
        with pytest.raises(
            ValueError, match=r"classes in column 'label', in the same order, but train-1\.parquet has"
        ):
            data.load(source)


def test_splits_that_number_their_classes_differently_are_joined_by_name_or_refused(tmp_path):
    folder = tmp_path / "set"
    numbered(folder / "train.parquet", ["cat", "dog"])
    numbered(folder / "test.parquet", ["dog", "cat"])
    assert data.load(str(folder)).test_y.tolist() == [1, 0, 1, 0]
    with pytest.raises(ValueError, match="same classes in column 'label', in the same order"):
        data.load(f"hf:{folder}")  # the reader of the hub has one numbering for all splits


def test_nothing_is_left_in_the_cache_and_settings_are_put_back(tmp_path):
    before = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, datasets.logging.get_verbosity()
    data.load(both(tmp_path / "set"))
    assert not (tmp_path / "cache").exists()
    assert before == (datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, datasets.logging.get_verbosity())


def test_the_named_columns_are_read(tmp_path):
    both(tmp_path / "set", image="scan", label=[i % 3 for i in range(12)], grade=[i % 4 for i in range(12)])
    loaded = data.load(str(tmp_path / "set"), image_column="scan", label_column="grade")
    assert loaded.train_y.tolist() == [0, 1, 2, 3] * 3


def test_columns_are_for_tables_only(tmp_path):
    for option in ("label_column", "image_column"):
        with pytest.raises(
            ValueError, match=r"needs a folder, a Parquet file or hf:NAME as --data, but --data is digits"
        ):
            data.load("digits", **{option: "label"})


def test_strings_and_categories_are_labels(tmp_path):
    import pyarrow as pa

    words = ["cat", "ant", "bee"] * 4
    for name, held in (("text", words), ("kind", pa.array(words).dictionary_encode())):
        loaded = data.load(both(tmp_path / name, label=held))
        assert loaded.class_names == ("ant", "bee", "cat")
        assert loaded.train_y.tolist() == [2, 0, 1] * 4


@pytest.mark.parametrize("test_labels", [[-1] * 12, [None] * 12, ["none"]])
def test_a_test_split_without_labels_falls_back_to_a_labelled_one(tmp_path, test_labels):
    for split in ("train", "validation"):
        table(tmp_path / "set", split)
    columns = {"other": [0] * 12} if test_labels == ["none"] else {"label": test_labels}
    table(tmp_path / "set", "test", **columns)
    for source in (str(tmp_path / "set"), f"hf:{tmp_path / 'set'}"):
        if test_labels == ["none"] and source.startswith("hf:"):
            continue  # the library itself wants one set of columns
        loaded = data.load(source)
        assert loaded.test_split == "validation"
        assert loaded.test_y.tolist() == [0, 1, 2] * 4
    (tmp_path / "set" / "validation.parquet").unlink()
    with pytest.raises(ValueError, match="test must have labels"):
        data.load(str(tmp_path / "set"))


def test_npz_falls_back_too(tmp_path):
    x, y = np.zeros((6, 2, 2), np.uint8), np.arange(6) % 2
    np.savez(
        tmp_path / "a.npz", train_x=x, train_y=y, test_x=x, test_y=-np.ones(6, int), val_x=x[:4], val_y=y[:4]
    )
    loaded = data.load(str(tmp_path / "a.npz"))
    assert (loaded.test_split, len(loaded.test_y)) == ("val", 4)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"bytes": None, "path": None}, "has no image"),
        (None, "has no image"),
        (b"hello", "cannot identify image file"),
        (b"", "has no image"),
        (encoded(grey())[:40], "not readable"),
        ({"bytes": None, "path": "pipe"}, "pipe is not a regular file"),
        ({"bytes": None, "path": "."}, "is not a regular file"),
        ({"bytes": None, "path": "absent.png"}, "No such file"),
        ({"bytes": None, "path": "a\0b"}, "null"),
        ({"bytes": None, "path": "https://example.org/a.png"}, "No such file"),
    ],
)
def test_a_row_without_an_image_is_named(tmp_path, row, said):
    images = [encoded(grey()) for _ in range(12)]
    images[5] = row
    both(tmp_path / "set", images=images)
    os.mkfifo(tmp_path / "set" / "pipe")
    with pytest.raises(ValueError, match=rf"image 5 is not readable: .*{said}|image 5 .*{said}"):
        data.load(str(tmp_path / "set"))


def test_images_may_lie_beside_the_table_and_be_plain_bytes_or_paths(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [grey() for _ in range(4)]
    folder = tmp_path / "set [v2]"
    both(folder, n=4, images=[{"bytes": None, "path": f"{i}.png"} for i in range(4)], label=[0, 1] * 2)
    for i, image in enumerate(images):
        (folder / f"{i}.png").write_bytes(encoded(image))
    wanted = torch.from_numpy(np.stack(images))[:, None]
    assert torch.equal(data.load(str(folder)).train_x, wanted)
    rows = {
        "jpg": [encoded(image) for image in images],
        "file": [f"{i}.png" for i in range(4)],
        "cls": [0, 1] * 2,
    }
    for split in ("train", "test"):
        pq.write_table(pa.table(rows), folder / f"{split}.parquet")
    assert torch.equal(data.load(str(folder)).train_x, wanted)
    assert torch.equal(data.load(str(folder), image_column="file").train_x, wanted)


def test_parquet_splits_may_be_folders(tmp_path):
    table(tmp_path / "set", "train", n=6)
    (tmp_path / "set" / "test").mkdir()
    table(tmp_path / "set" / "more", "test", n=6)
    shutil.move(tmp_path / "set" / "more" / "test.parquet", tmp_path / "set" / "test" / "0000.parquet")
    assert len(data.load(str(tmp_path / "set")).test_y) == 6


def test_splits_are_found_in_any_case(tmp_path):
    table(tmp_path / "set", "Train")
    table(tmp_path / "set", "TEST-0", n=6)
    assert len(data.load(str(tmp_path / "set")).test_y) == 6
    assert len(data.load(str(tree(tmp_path / "tree", ("Train", "Val"))))) == 6


def test_train_and_test_of_grey_and_colour_become_colour(tmp_path):
    table(tmp_path / "set", "train", images=[grey() for _ in range(12)])
    table(tmp_path / "set", "test", images=[colour() for _ in range(12)])
    loaded = data.load(str(tmp_path / "set"))
    assert loaded.train_x.shape == loaded.test_x.shape == (12, 3, 8, 8)


def test_a_folder_of_images_has_a_class_for_each_folder(tmp_path):
    for test in ("test", "val"):
        folder = tree(tmp_path / test, ("train", test), ("bee", "ant", "Cat"))
        (folder / "train" / "ant" / "notes.txt").write_text("no image")
        (folder / "train" / ".cache").mkdir()
        loaded = data.load(str(folder))
        assert loaded.class_names == ("Cat", "ant", "bee")
        assert loaded.train_y.tolist() == [0] * 3 + [1] * 3 + [2] * 3
        assert loaded.test_split == test


def test_a_class_may_be_absent_from_the_test_folder(tmp_path):
    folder = tree(tmp_path / "set", classes=("ant", "bee", "cat"))
    for name in ("ant", "bee"):
        shutil.rmtree(folder / "test" / name)
    assert data.load(str(folder)).test_y.tolist() == [2, 2, 2]
    shutil.rmtree(folder / "train" / "cat")
    with pytest.raises(ValueError, match=r"test labels must be one of the 2 classes.*'cat'"):
        data.load(str(folder))


def test_a_folder_may_name_images_and_labels_in_a_table(tmp_path):
    folder = tmp_path / "set"
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        for i in range(4):
            (folder / split / f"{i}.png").write_bytes(encoded(grey()))
        rows = [{"file_name": f"{i}.png", "label": "xy"[i % 2]} for i in range(4)]
        (folder / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert data.load(str(folder)).class_names == ("x", "y")


def pipe(folder):
    os.mkfifo(folder / "train" / "ant" / "z.png")


def broken(folder):
    (folder / "train" / "ant" / "z.png").symlink_to("/nowhere")


def linked(folder):
    (folder / "train" / "cat").symlink_to(folder / "train" / "ant")


def stray(folder):
    (folder / "train" / "z.png").write_bytes(encoded(grey()))


def nested(folder):
    (folder / "train" / "ant" / "in").mkdir()
    (folder / "train" / "ant" / "in" / "z.png").write_bytes(encoded(grey()))


def empty(folder):
    (folder / "train" / "cat").mkdir()


def described(folder):
    nested(folder)
    (folder / "train" / "metadata.json").write_text("{}")  # says nothing of images


def junk(folder):
    (folder / "train" / "ant" / "z.png").write_bytes(b"junk")


def no_test(folder):
    shutil.rmtree(folder / "test")


def no_classes(folder):
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (pipe, "z.png is not a regular file"),
        (broken, "z.png is not a regular file"),
        (linked, "cat is a link to a folder"),
        (stray, r"all images must be in .*train/CLASS/, but one is .*z\.png"),
        (nested, r"all images must be in .*train/CLASS/, but one is .*z\.png"),
        (described, r"all images must be in .*train/CLASS/, but one is .*z\.png"),
        (empty, "cat must hold images"),
        (junk, "image 3 is not readable"),
        (no_test, r"must have a test split \(.*test/CLASS/.*but it has train"),
        (no_classes, "must have a folder for each class"),
    ],
)
def test_what_a_folder_would_lose_is_refused(tmp_path, spoil, said):
    folder = tree(tmp_path / "set")
    spoil(folder)
    with pytest.raises(ValueError, match=said):
        data.load(str(folder))


@pytest.mark.parametrize("name", ["train.parquet", "pipe.npz"])
def test_pipes_in_place_of_data_do_not_hang(tmp_path, name):
    os.mkfifo(tmp_path / name)
    source = tmp_path / name if name.endswith("npz") else tmp_path
    with pytest.raises(ValueError, match=f"{name} is not a regular file"):
        data.load(str(source))
