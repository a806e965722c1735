"""Texts of a language model: a column of a Parquet file, and the source of each text if there is one."""

import torch
from torch import Tensor

from samplewise.bench import labels, readers, tables
from samplewise.bench.data import class_count, name_of
from samplewise.bench.settings import Settings
from samplewise.bench.tables import Table
from samplewise.bench.text import data as texts
from samplewise.bench.text.columns import TextColumns
from samplewise.bench.text.data import TextData

__all__ = ["load"]


def load(settings: Settings) -> TextData:
    """Read the texts, and reduce them to `limit` training rows, the same in every run.

    A column of sources, such as domains, takes the place of labels: `label_column` names it, as nothing else
    can tell it from labels of another task. Without one, all texts have one source.

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
    columns = TextColumns(settings.text_column, settings.label_column).unlabelled(
        found["train"][0].features, source
    )
    train, test = (_with_text(found[split], columns[0]) for split in ("train", "test"))
    train_x, test_x = texts.texts_of(train, test, columns)
    if train_x.shape[1] > 1:
        raise ValueError(
            f"{source} has pairs of texts, {' and '.join(columns)}. Name one column with --text-column."
        )
    if settings.label_column is None:
        train_y, test_y = (torch.zeros(len(x), dtype=torch.int64) for x in (train_x, test_x))
        names = tuple[str, ...]()
    else:
        train_y, test_y, names = _sources(train, test, settings.label_column, source)
    classes = max(1, len(names))
    data = TextData(name_of(source), classes, train_x, train_y, test_x, test_y, names, test.name)
    data = texts.with_groups(data, train, settings)
    return data if settings.limit is None else texts.limited(data, settings.limit)


def _with_text(candidates: list[Table], column: str) -> Table:
    """The first candidate for a split that has the column, else the first one, whose error says so."""
    return next((table for table in candidates if column in table.features), candidates[0])


def _sources(train: Table, test: Table, column: str, where: str) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The sources of both splits as numbers, and their names."""
    known, other = (texts.labelled([table], column, where)[1] for table in (train, test))
    train_y, test_y, names = labels.encode(known, other, where)
    count = class_count(where, train_y, test_y)
    return train_y, test_y, names or tuple(str(number) for number in range(count))
