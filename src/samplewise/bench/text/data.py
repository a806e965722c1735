"""`TextData`: labelled texts in memory, read from a Parquet file, a folder of them, or `hf:NAME`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int, Num, Shaped
from torch import Tensor

from samplewise import rng
from samplewise.bench import labels, readers, tables
from samplewise.bench.data import class_count, held_out_rows, limited_rows, name_of
from samplewise.bench.labels import Labels
from samplewise.bench.settings import Settings, Targets
from samplewise.bench.tables import Table
from samplewise.bench.text.columns import TextColumns

__all__ = [
    "TextData",
    "digest",
    "held_out",
    "labelled",
    "limited",
    "load",
    "texts_of",
    "with_groups",
]

Found = tuple[Table, Labels]


@dataclass(frozen=True)
class TextData:
    """A training and a test split of texts.

    Texts are arrays of str (n, 1), or (n, 2) for pairs. Labels are class numbers (n,) int64 in [0, classes),
    or with 0 classes numbers (n,) float32. The validation split is None until `held_out` makes it.
    `train_groups` (n,) are the groups of the training texts by a column of the source, int64 or text.
    """

    name: str
    classes: int
    train_x: np.ndarray
    train_y: Num[Tensor, " n"]
    test_x: np.ndarray
    test_y: Num[Tensor, " t"]
    class_names: tuple[str, ...] = ()
    test_split: str = "test"
    validation_x: np.ndarray | None = None
    validation_y: Num[Tensor, " v"] | None = None
    train_groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.train_y)

    def split(self, name: str) -> tuple[np.ndarray, Tensor]:
        """The texts and labels of "train", "validation" or "test"."""
        x, y = getattr(self, f"{name}_x"), getattr(self, f"{name}_y")
        if x is None:
            raise ValueError(f"{self.name} has no {name} split. Make it with bench.text.data.held_out.")
        return x, y

    def trained_on(self, train_x: np.ndarray, train_y: Num[Tensor, " n"]) -> "TextData":
        """Return the data with another training split."""
        return replace(self, train_x=train_x, train_y=train_y)

    def taking(self, ids: Shaped[Tensor, " k"]) -> "TextData":
        """Return the data with these rows of the training split: their numbers, or a mask."""
        made = self.trained_on(self.train_x[ids.numpy()], self.train_y[ids])
        return (
            made if self.train_groups is None else replace(made, train_groups=self.train_groups[ids.numpy()])
        )

    def relabelled(self, train_y: Int[Tensor, " n"]) -> "TextData":
        """Return the same texts with other training labels."""
        return replace(self, train_y=train_y)


def load(settings: Settings) -> TextData:
    """Read the data of a fine-tuning, and reduce them to `limit` training rows, the same in every run.

    Integers, strings, booleans and class labels are classes. Floating-point labels are numbers, which make a
    regression, unless they are exactly the whole numbers 0 to C-1. `targets` of the settings decides
    otherwise.

    Raises:
        ValueError: if the data cannot be used for training. The error names the file and the reason.
    """
    source = settings.data
    if not readers.has_tables(source):
        raise ValueError(
            f"--model {settings.model} needs texts: --data must be a Parquet file, a folder of Parquet "
            f"files, or hf:NAME, got {source}."
        )
    found = tables.tables_of(source)
    chosen = TextColumns(settings.text_column, settings.label_column)
    columns, label = chosen.choose(found["train"][0].features, source)
    (train, train_labels), (test, test_labels) = (
        labelled(found[split], label, source) for split in ("train", "test")
    )
    train_labels, test_labels = _of_kind(train_labels, test_labels, settings.targets, source)
    if train_labels.values.dtype.kind == "f":
        train_y, test_y = (
            torch.from_numpy(one.values.astype(np.float32)) for one in (train_labels, test_labels)
        )
        classes, names = 0, tuple[str, ...]()
        if len(torch.unique(train_y)) < 2:
            raise ValueError(f"{source}: train labels must differ, got {float(train_y[0]):g} in every row.")
    else:
        train_y, test_y, names = labels.encode(train_labels, test_labels, source)
        classes = class_count(source, train_y, test_y)
    train_x, test_x = texts_of(train, test, columns)
    data = TextData(name_of(source), classes, train_x, train_y, test_x, test_y, names, test.name)
    data = with_groups(data, train, settings)
    if not classes:
        _refuse_changes(settings, data)
    return data if settings.limit is None else limited(data, settings.limit)


def with_groups(data: TextData, train: Table, settings: Settings) -> TextData:
    """The data with the groups of their training texts, if a column names them."""
    column = settings.group_column
    return data if column is None else replace(data, train_groups=tables.groups_of(train, column))


def labelled(candidates: list[Table], label: str, source: str) -> Found:
    """The first candidate for a split that has labels, and its labels as they are in the file."""
    for table in candidates:
        if label not in table.features:
            continue
        where = f"{table.where} column {label!r}: labels"
        values = [row[label] for row in table.rows([label])]
        _refuse_no_rows(table, values)
        known = _column(values, getattr(table.features[label], "names", None) or (), where)
        if known.present:
            return table, known
    names = " and ".join(table.name for table in candidates)
    raise ValueError(
        f"{source}: {names} must have labels in the column {label!r} for training and testing, but all are "
        "missing, null or -1."
    )


def _column(values: list[object], names: tuple[str, ...] | list[str], where: str) -> Labels:
    """The labels of a column. Numbers must be finite."""
    if not any(isinstance(value, float) for value in values) or None in values:
        return labels.of_column(values, names, where)
    array = np.array(values, dtype=np.float64)
    if len(bad := np.flatnonzero(~np.isfinite(array))):
        raise ValueError(
            f"{where} must be finite numbers, but {len(bad)} rows are not (first: row {bad[0]}, "
            f"{array[bad[0]]:g}). Leave out these rows."
        )
    return Labels(array)


def _of_kind(train: Labels, test: Labels, targets: Targets | None, source: str) -> tuple[Labels, Labels]:
    """Both as classes, or both as float64 numbers."""
    pair = train, test
    if targets == "numbers":
        if bad := [one for one in pair if one.values.dtype.kind not in "fiu"]:
            raise ValueError(
                f"--targets numbers needs labels that are numbers, but those of {source} are "
                f"{bad[0].values[0]!r} and others. Leave it out."
            )
        return Labels(train.values.astype(np.float64)), Labels(test.values.astype(np.float64))
    if not any(one.values.dtype.kind == "f" for one in pair):
        return pair
    if any(one.values.dtype.kind not in "fiu" for one in pair):
        raise ValueError(
            f"{source}: train and test labels must have one type: one has numbers, one has text."
        )
    whole = np.unique(train.values)
    count = np.array_equal(whole, np.arange(len(whole))) and bool(np.isin(test.values, whole).all())
    if targets == "classes" and not count:
        raise ValueError(
            f"--targets classes needs the labels 0 to C-1, but {source} has {len(whole)} different numbers "
            f"from {whole[0]:g} to {whole[-1]:g}. Leave it out for a regression."
        )
    kind = np.int64 if count else np.float64
    return Labels(train.values.astype(kind), train.names), Labels(test.values.astype(kind), test.names)


def texts_of(train: Table, test: Table, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The texts of both splits, (n, 1) or (n, 2). A second column that is empty everywhere is left out.

    Raises:
        ValueError: if a split lacks a column, has no rows, or has a row without a text.
    """
    train_x, test_x = _read(train, columns), _read(test, columns)
    if len(columns) == 2 and not any(train_x[:, 1]) and not any(test_x[:, 1]):
        train_x, test_x, columns = train_x[:, :1], test_x[:, :1], columns[:1]
    for table, found in ((train, train_x), (test, test_x)):
        _refuse_empty(table, found, columns)
    return train_x, test_x


def _read(table: Table, columns: tuple[str, ...]) -> np.ndarray:
    """The texts of a split, (n, 1) or (n, 2); an absent one is empty."""
    for name in columns:
        if name not in table.features:
            raise ValueError(
                f"{table.where} must have the text column {name!r}, but its columns are "
                f"{', '.join(table.features)}."
            )
    rows = [tuple(row[name] or "" for name in columns) for row in table.rows(list(columns))]
    _refuse_no_rows(table, rows)
    texts = np.empty((len(rows), len(columns)), dtype=object)
    texts[:] = rows
    return texts


def _refuse_no_rows(table: Table, rows: Sequence[object]) -> None:
    if not rows:
        raise ValueError(
            f"{table.where} must have at least one row, but has none. Name other data with --data."
        )


def _refuse_empty(table: Table, texts: np.ndarray, columns: tuple[str, ...]) -> None:
    """Raise for a row without a text, or with only one of a pair."""
    empty = np.array([[not text.strip() for text in row] for row in texts]).reshape(texts.shape)
    if len(bad := np.argwhere(empty)):
        row, column = bad[0]
        other = ", or name one column with --text-column" * (len(columns) == 2)
        raise ValueError(
            f"{table.where}: every row must have a text, but {len({int(r) for r, _ in bad})} rows have an "
            f"empty {columns[column]!r} (first: row {row}). Leave out these rows{other}."
        )


def _refuse_changes(settings: Settings, data: TextData) -> None:
    """Raise for changes of classes where there are none."""
    for name in ("label_noise", "imbalance", "per_class", "label_smoothing"):
        if getattr(settings, name):
            raise ValueError(
                f"--{name.replace('_', '-')} needs classes, but the labels of {data.name} are numbers. "
                "Leave it out."
            )


def limited(data: TextData, limit: int) -> TextData:
    """Keep `limit` training rows, the same in every run; of classes with sizes as equal as possible."""
    if data.classes:
        ids = limited_rows(data.train_y, data.classes, limit, data.name)
    elif not 2 <= limit <= len(data):
        raise ValueError(f"limit must be in [2, {len(data)}] for {data.name}, got {limit}")
    else:
        ids = torch.randperm(len(data), generator=rng.generator(0, "limit"))[:limit].sort().values
    return data.taking(ids)


def held_out(data: TextData, share: float) -> TextData:
    """Take a share of the training rows as the validation split, the same in every run.

    Every class gives the same share, rounded, and keeps at least one row for training.
    """
    groups = data.train_y if data.classes else torch.zeros(len(data), dtype=torch.int64)
    taken = held_out_rows(groups, max(1, data.classes), share, data.name)
    rows = taken.numpy()
    return replace(data.taking(~taken), validation_x=data.train_x[rows], validation_y=data.train_y[taken])


def digest(data: TextData) -> str:
    """SHA-256 of the texts and labels of the training and the test split, in hexadecimal digits."""
    found = hashlib.sha256()
    for texts, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        for text in texts.flat:
            found.update(f"{len(text)} {text}".encode("utf-8", "surrogatepass"))
        found.update(y.numpy().tobytes())
    return found.hexdigest()
