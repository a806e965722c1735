"""The sources of `--data`: each reader returns {"train": (x, y), "test": (x, y)} as arrays."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samplewise.checks import require

Splits = dict[str, tuple[np.ndarray, np.ndarray]]

# How test splits are called on the hub, the best first: some sets have no labelled test split.
SPLITS = {"train": ("train",), "test": ("test", "validation", "valid", "val", "dev")}
LABELS = ("label", "labels", "fine_label", "target", "class")


def read(source: str) -> Splits:
    """Choose the reader by the form of `source`."""
    if source == "digits":
        return read_digits()
    if source.startswith("hf:"):
        return read_hub(source.removeprefix("hf:"))
    path = Path(source)
    if path.is_dir():
        return read_parquet(path)
    if path.suffix == ".npz":
        return read_npz(path)
    what = "must be a .npz file" if path.exists() else "does not exist: it must be a .npz file"
    raise ValueError(f"--data {source} {what}, a folder of Parquet files, 'digits' or 'hf:NAME' for the hub")


def read_digits() -> Splits:
    """scikit-learn's 1,797 digits, 8x8 grey; a fixed quarter of each class is the test split."""
    require("sklearn", "bench")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # The pixels are integers 0..16; times 15 they fill a byte without loss.
    images = (digits.images * 15).astype(np.uint8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=0.25, random_state=0, stratify=digits.target
    )
    return {"train": (train_x, train_y), "test": (test_x, test_y)}


def read_npz(path: Path) -> Splits:
    """Arrays train_x, train_y, test_x, test_y of one .npz file."""
    names = ("train_x", "train_y", "test_x", "test_y")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                held = ", ".join(file.files) or "nothing"
                raise ValueError(f"{path} lacks {', '.join(missing)}; it holds {held}")
            arrays = {name: file[name] for name in names}
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error
    except Exception as error:  # zip, zlib and pickle faults have no common class
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error
    return {split: (arrays[f"{split}_x"], arrays[f"{split}_y"]) for split in ("train", "test")}


def read_parquet(folder: Path) -> Splits:
    """A folder with train*.parquet and test*.parquet in the Hugging Face image layout."""
    require("pyarrow", "scores")
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted(p for p in folder.rglob("*.parquet") if not p.name.startswith("."))
    splits = {}
    for split, words in SPLITS.items():
        files = _split_files(names, words)
        if not files:
            found = ", ".join(p.name for p in names[:6]) or "no Parquet file"
            raise ValueError(f"{folder} has no {split} split ({split}.parquet or {split}-*.parquet): {found}")
        try:
            table = pa.concat_tables([pq.read_table(file) for file in files])
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{folder}: the {split} split is not readable: {error}") from error
        image, label = columns(table.column_names, {f.name: _kind(f.type) for f in table.schema}, str(folder))
        if table[label].null_count:
            raise ValueError(f"{folder}: {split} column {label!r} has missing labels")
        pictures = table[image].to_pylist()
        splits[split] = (
            decode(pictures, f"{folder} {split}", folder),
            table[label].to_numpy(),
        )
    return splits


def read_hub(name: str) -> Splits:
    """A data set of the hub, or a local folder that `datasets.load_dataset` understands."""
    require("datasets", "bench")
    import datasets

    try:
        loaded = datasets.load_dataset(name)
    except Exception as error:  # the library raises its own, the network's and the reader's errors
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"hf:{name} cannot be loaded: {reason[0] if reason else type(error).__name__}"
        ) from error
    splits = {}
    for split, words in SPLITS.items():
        found = next((word for word in words if word in loaded), None)
        if found is None:
            raise ValueError(f"hf:{name} has no {split} split; it has {', '.join(loaded)}")
        rows = loaded[found]
        kinds = {key: _feature_kind(feature) for key, feature in rows.features.items()}
        image, label = columns(rows.column_names, kinds, f"hf:{name}")
        if isinstance(rows.features[image], datasets.Image):
            rows = rows.cast_column(image, datasets.Image(decode=False))
        pictures = rows[image]
        splits[split] = (
            decode(pictures, f"hf:{name} {split}", Path(name)),
            np.asarray(rows.with_format("numpy")[label][:]),
        )
    return splits


def columns(names: Sequence[str], kinds: Mapping[str, str], where: str) -> tuple[str, str]:
    """The image column and the label column among `names`, by their kinds."""
    images = [name for name in names if kinds[name] == "image"]
    labels = [name for name in names if kinds[name] == "int"]
    preferred = [name for name in LABELS if name in labels] or labels[:1]
    if not images or not preferred:
        what = "image column (a struct of bytes and path)" if not images else "integer label column"
        raise ValueError(f"{where} has no {what}; its columns are {', '.join(names)}")
    return images[0], preferred[0]


def decode(pictures: Iterable[Mapping[str, Any]], where: str, folder: Path) -> np.ndarray:
    """Compressed images as one array (n, side, side[, 3]); all must have one size."""
    require("PIL", "bench")
    from PIL import Image, UnidentifiedImageError

    arrays: list[np.ndarray] = []
    for row, picture in enumerate(pictures):
        raw, path = picture.get("bytes"), picture.get("path")
        try:
            with Image.open(io.BytesIO(raw) if raw else folder / str(path)) as opened:
                grey = opened.mode in ("1", "L", "I", "I;16", "F")
                array = np.asarray(opened.convert("L" if grey else "RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(f"{where}: image {row} is not readable: {error}") from error
        if arrays and array.shape != arrays[0].shape:
            raise ValueError(
                f"{where}: images must have one size, image 0 is {arrays[0].shape}, "
                f"image {row} is {array.shape}"
            )
        arrays.append(array)
    if not arrays:
        raise ValueError(f"{where} is empty")
    return np.stack(arrays)


def _split_files(names: Iterable[Path], words: Iterable[str]) -> list[Path]:
    """The files of the first of `words` that any file name begins with."""
    names = list(names)
    for word in words:
        pattern = re.compile(rf"{word}([-_.].*)?\.parquet")
        files = [path for path in names if pattern.fullmatch(path.name)]
        if files:
            return files
    return []


def _kind(arrow_type: Any) -> str:
    import pyarrow.types as types

    if types.is_struct(arrow_type):
        fields = {arrow_type.field(i).name for i in range(arrow_type.num_fields)}
        return "image" if "bytes" in fields else "other"
    return "int" if types.is_integer(arrow_type) else "other"


def _feature_kind(feature: Any) -> str:
    import datasets

    if isinstance(feature, datasets.Image) or (isinstance(feature, dict) and "bytes" in feature):
        return "image"
    return "int" if "int" in str(getattr(feature, "dtype", "")) else "other"
