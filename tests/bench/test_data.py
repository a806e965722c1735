import io

import numpy as np
import pytest
import torch

from samplewise.bench import data


def arrays(n=12, side=8, classes=3):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, side, side), dtype=np.uint8)
    y = np.arange(n) % classes
    return {"train_x": x, "train_y": y, "test_x": x[:6], "test_y": y[:6]}


def npz(tmp_path, **changes):
    path = tmp_path / "set.npz"
    held = {k: v for k, v in (arrays() | changes).items() if v is not None}
    np.savez(path, **held)
    return str(path)


def png(image):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(folder, shards=1, image="img", side=8):
    """The Hugging Face image layout: a struct of bytes and path, and an integer label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    held = arrays(side=side)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test"):
        rows = [{"bytes": png(x), "path": None} for x in held[f"{split}_x"]]
        table = pa.table({image: pa.array(rows, kind), "label": pa.array(held[f"{split}_y"])})
        if shards == 1:
            pq.write_table(table, folder / f"{split}.parquet")
        else:
            half = len(rows) // 2
            pq.write_table(table.slice(0, half), folder / f"{split}-00000-of-00002.parquet")
            pq.write_table(table.slice(half), folder / f"{split}-00001-of-00002.parquet")
    return held


def test_digits_are_split_alike_every_time_and_by_class():
    first, second = data.load("digits"), data.load("digits")
    assert torch.equal(first.train_x, second.train_x)
    assert (first.channels, first.side, first.classes, first.name) == (1, 8, 10, "digits")
    assert len(first) + len(first.test_y) == 1797
    assert torch.bincount(first.test_y).min() >= 43
    assert first.train_x.dtype == torch.uint8
    assert int(first.train_x.max()) == 240


def test_npz_gives_back_its_arrays_with_moments_of_the_training_pixels(tmp_path):
    loaded = data.load(npz(tmp_path))
    held = arrays()
    assert torch.equal(loaded.train_x[:, 0], torch.from_numpy(held["train_x"]))
    assert torch.equal(loaded.train_y, torch.from_numpy(held["train_y"]))
    assert loaded.mean.item() == pytest.approx(held["train_x"].mean(), rel=1e-5)
    assert loaded.std.item() == pytest.approx(held["train_x"].std(), rel=1e-5)


def test_colour_images_may_have_channels_last_or_first(tmp_path):
    x = np.random.default_rng(1).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    last = data.load(npz(tmp_path, train_x=x, test_x=x[:6]))
    first = data.load(npz(tmp_path, train_x=x.transpose(0, 3, 1, 2), test_x=x[:6].transpose(0, 3, 1, 2)))
    assert torch.equal(last.train_x, first.train_x)
    assert last.channels == 3


def test_float_images_stay_floats(tmp_path):
    x = np.random.default_rng(1).random((12, 8, 8))
    loaded = data.load(npz(tmp_path, train_x=x, test_x=x[:6]))
    assert loaded.train_x.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_y": None}, r"set\.npz must hold test_y, but it holds train_x, train_y, test_x"),
        ({"train_y": np.arange(11) % 3}, "got 12 images and 11 labels"),
        ({"train_y": np.arange(12) % 3 + 1}, r"must be 0 to C-1.*between 1 and 3\. Subtract 1\?"),
        ({"train_y": np.arange(12) % 3 - 1}, "3 classes between -1 and 1"),
        ({"train_y": np.arange(12) % 3 * 2}, "3 classes between 0 and 4"),
        (
            {"train_y": (np.arange(12) % 3).astype(float)},
            "train labels must be a 1-D array of integers.*float64",
        ),
        ({"train_y": np.zeros(12, int), "test_y": np.zeros(6, int)}, "at least 2 classes, got 1"),
        ({"test_y": np.arange(6)}, r"test labels must be in \[0, 2\].*0 to 5"),
        ({"train_x": arrays()["train_x"][:0], "train_y": np.arange(0)}, "the train split has no samples"),
        ({"train_x": np.zeros((12, 64), np.uint8)}, r"must have one shape, got \(64, 1, 1\) and \(1, 8, 8\)"),
        ({"train_x": np.zeros((12, 8, 9), np.uint8)}, "must be square with 1 or 3 channels"),
        (
            {"train_x": np.zeros((12, 8, 8), np.int64)},
            "must be bool, uint8, uint16 or floating point, got int64",
        ),
        ({"train_x": np.full((12, 8, 8), np.nan)}, "must be finite"),
        ({"test_x": np.zeros((6, 9, 9), np.uint8)}, "train and test images must have one shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        data.load(npz(tmp_path, **changes))


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.npz does not exist"):
        data.load(str(tmp_path / "absent.npz"))
    with pytest.raises(ValueError, match=r"must be a \.npz file.*, which does not exist"):
        data.load("mnist")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"broken\.npz is not a readable \.npz file"):
        data.load(str(broken))
    cut = tmp_path / "cut.npz"
    whole = tmp_path / "set.npz"
    npz(tmp_path)
    cut.write_bytes(whole.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"cut\.npz is not a readable \.npz file"):
        data.load(str(cut))


@pytest.mark.parametrize("shards", [1, 2])
def test_parquet_folder_in_the_hub_layout(tmp_path, shards):
    held = parquet(tmp_path / "set", shards)
    loaded = data.load(str(tmp_path / "set"))
    assert torch.equal(loaded.train_x[:, 0], torch.from_numpy(held["train_x"]))
    assert torch.equal(loaded.test_y, torch.from_numpy(held["test_y"]))
    assert loaded.name == "set"


def test_parquet_that_does_not_fit_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"must have a train split.*no Parquet file"):
        data.load(str(folder))
    parquet(folder)
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), folder / "test.parquet")
    with pytest.raises(ValueError, match=r"must have the image column .*text, label"):
        data.load(str(folder))
    (folder / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="the test split is not readable"):
        data.load(str(folder))


def test_hub_loading_reads_a_local_folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    held = parquet(tmp_path / "set", image="image")
    loaded = data.load(f"hf:{tmp_path / 'set'}")
    assert torch.equal(loaded.train_x[:, 0], torch.from_numpy(held["train_x"]))
    assert torch.equal(loaded.test_y, torch.from_numpy(held["test_y"]))
    assert loaded.name == "set"


def test_hub_errors_name_the_set(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(ValueError, match=r"hf:.*nowhere cannot be loaded"):
        data.load(f"hf:{tmp_path / 'nowhere'}")


def test_limit_takes_classes_evenly_and_always_the_same(tmp_path):
    whole = data.load("digits")
    few = data.limited(whole, 205)
    assert len(few) == 205
    assert sorted(torch.bincount(few.train_y).tolist()) == [20] * 5 + [21] * 5
    assert torch.equal(few.train_x, data.limited(whole, 205).train_x)
    assert torch.equal(few.test_x, whole.test_x)
    assert few.mean.item() == pytest.approx(few.train_x.double().mean().item(), rel=1e-5)
    y = np.array([0] * 9 + [1] * 2 + [2])
    uneven = data.limited(data.load(npz(tmp_path, train_y=y)), 8)
    assert torch.bincount(uneven.train_y).tolist() == [5, 2, 1]


def test_limit_must_leave_every_class_and_not_exceed_the_set():
    whole = data.load("digits")
    for limit in (9, 100_000):
        with pytest.raises(ValueError, match=rf"limit must be in \[10, 1347\].*got {limit}"):
            data.limited(whole, limit)
    assert len(data.limited(whole, 1347)) == 1347
