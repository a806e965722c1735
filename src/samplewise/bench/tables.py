"""Reading tables with `datasets`: Parquet files, folders of images, and the hub."""

import glob
import io
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samplewise.bench import labels, pixels
from samplewise.bench.columns import Columns, must_exist
from samplewise.bench.labels import Labels
from samplewise.bench.pixels import Pixels
from samplewise.bench.splits import SPLITS, Found, Split
from samplewise.checks import require

Rows = Iterable[dict[str, Any]]

_AT_ONCE = 256
_HIDDEN = (".", "__")


@dataclass(frozen=True)
class Table:
    """One split as a table. `rows(names)` reads the named columns, row by row."""

    name: str
    where: str
    folder: Path
    features: Mapping[str, Any]
    rows: Callable[[list[str]], Rows]


def read(source: str, columns: Columns) -> Found:
    """The splits of a source of tables, as images with labels."""
    tables = tables_of(source)
    features = tables["train"][0].features
    if columns.group is not None:
        must_exist("--groups", columns.group, features, source)
    # The columns chosen in the training split are used for all.
    if vectors := columns.vectors(features, source):
        label = columns.label_of(features, source)
        made = partial(_numbers, columns=vectors, label=label)
    else:
        image, label = columns.choose(features, source)
        made = partial(_split, image=image, label=label)
    return {split: [made(one, group=columns.group) for one in found] for split, found in tables.items()}


def groups_of(table: Table, column: str) -> np.ndarray:
    """The group of every row, (n,): int64 or text. Raises if a row has none."""
    must_exist("--groups", column, table.features, table.where)
    values = [row[column] for row in table.rows([column])]
    names = getattr(table.features[column], "names", None) or ()
    return labels.groups_of(values, names, f"{table.where} column {column!r}: groups")


def training_files(source: str) -> list[Path]:
    """The Parquet files of the training split, in the order of its samples.

    Args:
        source: a Parquet file, which is the training split whatever its name, or a folder.

    Raises:
        ValueError: if there is none.
    """
    path = Path(source)
    if not path.is_dir():
        if path.suffix != ".parquet" or not path.is_file():
            raise ValueError(f"{source} must be a Parquet file or a folder of them.")
        return [path]
    files = sorted(file for file in path.rglob("*.parquet") if _seen(file, path))
    for word in SPLITS["train"]:
        if mine := [file for file in files if _of_split(path, file, word)]:
            return mine
    raise ValueError(f"{source} has no Parquet file of a training split, such as train.parquet.")


def tables_of(source: str) -> dict[str, list[Table]]:
    """The tables of each split of a source, the preferred one first.

    Args:
        source: a folder of Parquet files or of image folders that have the names of splits; a Parquet file
            such as `sst2-train.parquet`, beside which the other splits are; or `hf:NAME`.

    Raises:
        ValueError: if a split is missing, or a file is not readable.
    """
    if source.startswith("hf:"):
        return _hub(source.removeprefix("hf:"))
    path = Path(source)
    if not path.is_dir():
        return _beside(path)
    files = sorted(file for file in path.rglob("*.parquet") if _seen(file, path))
    if any(_of_split(path, file, word) for file in files for words in SPLITS.values() for word in words):
        return _splits(partial(_parquet, path, files), source, files)
    return _splits(partial(_image_folder, path), source, sorted(path.iterdir()))


def _beside(path: Path) -> dict[str, list[Table]]:
    """The splits of a Parquet file of a training split, and of the files beside it."""
    word = next((word for word in SPLITS["train"] if _named(path.stem, word)), None)
    if word is None:
        raise ValueError(
            f"{path} must have the training split in its name, as in sst2-train.parquet, with the test split "
            "beside it, as in sst2-test.parquet. Or give a folder with train.parquet and test.parquet."
        )

    def table(other: str) -> Table | None:
        file = path.with_name(_named(path.stem, word, other) + path.suffix)
        return _of_files([file], f"{file}", path.parent, other) if file.exists() else None

    return _splits(table, str(path), sorted(path.parent.glob("*.parquet")))


def _named(stem: str, word: str, other: str = "") -> str:
    """A file name with a word for a split replaced by another; empty if the word is not in it.

    >>> _named("sst2-train", "train", "dev"), _named("strain", "train", "dev")
    ('sst2-dev', '')
    """
    found, count = re.subn(rf"(?<![A-Za-z]){word}(?![A-Za-z])", other or word, stem, flags=re.IGNORECASE)
    return found if count == 1 else ""


def _hub(name: str) -> dict[str, list[Table]]:
    """The splits of a data set of the hub, or of a local folder that `datasets.load_dataset` can load."""
    datasets = require("datasets", "bench")
    try:
        with _quiet(datasets):
            loaded = datasets.load_dataset(name)
    except Exception as error:  # errors of the library, the network and the file readers
        raise ValueError(f"hf:{name} cannot be loaded: {_reason(error)}") from error

    if (folder := Path(name)).is_dir():
        files = sorted(path for path in folder.rglob("*.parquet") if _seen(path, folder))
        for rows in loaded.values():
            _one_numbering(files, rows.features, f"hf:{name}")

    def table(word: str) -> Table | None:
        if word not in loaded:
            return None
        rows, where = loaded[word], f"hf:{name} {word}"
        return Table(word, where, Path(name), rows.features, lambda names: _plain(rows.select_columns(names)))

    return _splits(table, f"hf:{name}", [Path(word) for word in loaded])


def _splits(table: Callable[[str], Table | None], where: str, there: list[Path]) -> dict[str, list[Table]]:
    """The tables of every split. Raises if one has none."""
    found: dict[str, list[Table]] = {}
    for split, words in SPLITS.items():
        tables = [one for word in words if (one := table(word))]
        if not tables:
            held = ", ".join(path.name for path in there[:6]) or "no Parquet file and no folder"
            raise ValueError(
                f"{where} must have a {split} split ({split}.parquet, {split}-*.parquet, or {split}/CLASS/ "
                f"with images), but it has {held}"
            )
        found[split] = tables
    return found


def _read_labels(table: Table, label: str) -> Labels | None:
    if label not in table.features:
        return None
    values = [row[label] for row in table.rows([label])]
    names = getattr(table.features[label], "names", None) or ()
    return labels.of_column(values, names, f"{table.where} column {label!r}: labels")


def _numbers(table: Table, columns: list[str], label: str, group: str | None) -> Split:
    """A split whose samples are the numbers of some columns, side by side."""

    def read_vectors(size: int | None) -> Pixels:
        if missing := [name for name in columns if name not in table.features]:
            raise ValueError(f"{table.where} must have the column {missing[0]!r}, as the training split has.")
        rows = [np.hstack([np.asarray(row[name]) for name in columns]) for row in table.rows(columns)]
        if len({row.shape for row in rows}) > 1 or any(row.dtype == object for row in rows):
            raise ValueError(
                f"{table.where}: columns {', '.join(columns)} must have a number, or lists of one length, in "
                "every row. Fill in what is missing, or leave out the rows."
            )
        return pixels.of_array(np.stack(rows), f"{table.where}: columns of numbers", size)

    return _of(table, label, read_vectors, group)


def _split(table: Table, image: str, label: str, group: str | None) -> Split:
    def read_images(size: int | None) -> Pixels:
        require("PIL", "bench")
        if image not in table.features:
            raise ValueError(
                f"{table.where} must have the image column {image!r}, but its columns are "
                f"{', '.join(table.features)}"
            )
        pictures = (row[image] for row in table.rows([image]))
        return pixels.of_pictures(pictures, partial(_open, table.folder), table.where, size)

    return _of(table, label, read_images, group)


def _of(table: Table, label: str, images: Callable[[int | None], Pixels], group: str | None) -> Split:
    groups = None if group is None else partial(groups_of, table, group)
    return Split(table.name, partial(_read_labels, table, label), images, groups)


def _open(folder: Path, picture: Any) -> Any:
    """Open the PIL image of a row. `picture` is bytes, a path, or a mapping with both."""
    from PIL import Image

    held = picture if isinstance(picture, dict) else {}
    raw = picture if isinstance(picture, bytes) else held.get("bytes")
    path = picture if isinstance(picture, str) else held.get("path")
    if raw:
        return Image.open(io.BytesIO(raw))
    if not path:
        raise ValueError("the row has no image. Leave out such rows")
    file = folder / path
    if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe or a device may never end
        raise ValueError(f"{path} is not a regular file")
    return Image.open(file)


def _parquet(folder: Path, files: list[Path], word: str) -> Table | None:
    """The Parquet files of one split as a table, or None if it has none. Rows are read in small blocks."""
    mine = [path for path in files if _of_split(folder, path, word)]
    return _of_files(mine, f"{folder}: the {word} split", folder, word) if mine else None


def _of_files(mine: list[Path], where: str, folder: Path, word: str) -> Table:
    for path in mine:
        if not path.is_file():
            raise ValueError(f"{path} is not a regular file")
    patterns = [glob.escape(str(path.resolve())) for path in mine]
    read = partial(_load, "parquet", where, data_files={word: patterns}, batch_size=_AT_ONCE)
    features = read()[0]
    _one_numbering(mine, features, where)
    return Table(word, where, folder, features, lambda names: read(columns=names)[1]())


def _one_numbering(files: list[Path], features: Mapping[str, Any], where: str) -> None:
    """Raise if files number the classes of a column differently: the reader uses one numbering for all."""
    import pyarrow.parquet as pq
    from datasets import ClassLabel, Features

    classes = {name: f.names for name, f in features.items() if isinstance(f, ClassLabel)}
    for path in files if classes else ():
        own = Features.from_arrow_schema(pq.read_schema(path))
        for name, names in classes.items():
            if isinstance(own.get(name), ClassLabel) and own[name].names != names:
                raise ValueError(
                    f"{where}: all files must have the same classes in column {name!r}, in the same order, "
                    f"but {path.name} has {', '.join(own[name].names[:6])} and the first file has "
                    f"{', '.join(names[:6])}. Write all files with one order of classes."
                )


def _image_folder(folder: Path, word: str) -> Table | None:
    """The images under FOLDER/word as a table, or None. The class is the name of the image's folder."""
    named = [path for path in sorted(folder.iterdir()) if path.name.lower() == word and path.is_dir()]
    if not named:
        return None
    under = named[0]
    _check_folder(under)
    pattern = f"{glob.escape(str(under.resolve()))}/**"
    features, rows = _load("imagefolder", str(under), data_files={word: pattern}, drop_labels=False)
    return Table(
        word, str(under), under, features, lambda names: ({n: row[n] for n in names} for row in rows())
    )


def _check_folder(under: Path) -> None:
    """Raise if the reader would skip files without a message, or use a wrong folder as a class."""
    require("PIL", "bench")
    from PIL import Image

    Image.init()
    classes: dict[str, int] = {}
    for where, folders, files in os.walk(under):
        folders[:] = [name for name in folders if not name.startswith(_HIDDEN)]
        if {"metadata.csv", "metadata.jsonl"} & set(files):
            return  # the metadata file lists images and labels
        here = Path(where)
        depth = len(here.relative_to(under).parts)
        if depth == 1:
            classes[here.name] = 0
        for name in folders:
            if (here / name).is_symlink():
                raise ValueError(
                    f"{here / name} is a link to a folder. Links are not followed: use the folder itself."
                )
        for name in files:
            path = here / name
            if name.startswith(_HIDDEN) or path.suffix.lower() not in Image.EXTENSION:
                continue
            if not path.is_file():
                raise ValueError(f"{path} is not a regular file")
            if depth != 1:
                raise ValueError(f"all images must be in {under}/CLASS/, but one is {path}. Move it.")
            classes[here.name] += 1
    if not classes:
        raise ValueError(f"{under} must have a folder for each class. Put the images in {under}/CLASS/.")
    if empty := [name for name, count in classes.items() if not count]:
        raise ValueError(f"{under / empty[0]} must hold images, but has none. Remove the folder.")


def _load(builder: str, where: str, **options: Any) -> tuple[Mapping[str, Any], Callable[[], Rows]]:
    """Return the features of local files, and a function that reads their rows. It may be called again.

    Nothing is written to the cache of `datasets`, and no server is contacted.
    """
    datasets = require("datasets", "bench")
    (split,) = options["data_files"]
    try:
        with _quiet(datasets), tempfile.TemporaryDirectory() as cache:
            rows = datasets.load_dataset(builder, split=split, streaming=True, cache_dir=cache, **options)
    except Exception as error:  # errors of the library, of Arrow and of the system
        raise ValueError(f"{where} is not readable: {_reason(error)}") from error
    return rows.features, lambda: _reading(datasets, rows, where)


def _reading(datasets: Any, rows: Any, where: str) -> Iterator[dict[str, Any]]:
    """Yield the rows, with images not decoded. Errors of the reader get the name of the split."""
    iterator = iter(_plain(rows))
    while True:
        try:
            with _quiet(datasets):
                some = list(islice(iterator, _AT_ONCE))
        except Exception as error:
            raise ValueError(f"{where} is not readable: {_reason(error)}") from error
        if not some:
            return
        yield from some


def _plain(rows: Any) -> Any:
    """Return the rows with images as bytes and path, not decoded."""
    import datasets

    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Silence `datasets`: no error log, no download statistics to a server, no progress bars in log files."""
    level, counts = datasets.logging.get_verbosity(), datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    bars = not sys.stderr.isatty() and not datasets.are_progress_bars_disabled()
    if bars:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        if bars:
            datasets.enable_progress_bars()


def _reason(error: BaseException) -> str:
    """The first line of the error, or of its cause if the library's own error says nothing specific."""
    if type(error).__name__ == "DatasetGenerationError":
        error = error.__cause__ or error
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _of_split(folder: Path, path: Path, word: str) -> bool:
    """Return whether a file belongs to the split `word`, by its name or by that of a parent folder."""
    own = any(_begins(other, path.name) for words in SPLITS.values() for other in words)
    names = [path.name] if own else path.relative_to(folder).parts[:-1]
    return any(_begins(word, name) for name in names)


def _begins(word: str, name: str) -> bool:
    return re.match(rf"{word}([-_.]|$)", name, re.IGNORECASE) is not None


def _seen(path: Path, folder: Path) -> bool:
    """Return whether `path` is not a folder and no part of it below `folder` is hidden."""
    return not path.is_dir() and not any(part.startswith(_HIDDEN) for part in path.relative_to(folder).parts)
