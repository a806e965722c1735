"""Writing columns of numbers to Parquet and reading them, with JSON metadata in the schema."""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplewise.checks import require
from samplewise.data.byid import whole_numbers
from samplewise.files.atomic import replacing

__all__ = ["array_of", "arrow_table", "naming", "read_columns", "write_columns"]

_DIFFERENCES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
"""Types that are written as differences."""


ROWS = 1 << 20
"""Rows that are written at once, a row group. An eighth of them is read at once."""

_BUFFER = 1 << 16
"""Bytes of each column that are read at once. By default a whole row group is held."""

Given = Tensor | range
"""A column. A range takes no memory: ids that count from 0 are one."""


def arrow_table(columns: Mapping[str, Given], provenance: Mapping[str, Any]) -> Any:
    """Make a `pyarrow.Table` of equally long columns, with `provenance` as JSON in its schema."""
    table = require("pyarrow", "scores").table({name: array_of(column) for name, column in columns.items()})
    return table.replace_schema_metadata({"samplewise": json.dumps(dict(provenance), default=str)})


def array_of(column: Given) -> Any:
    """A column as a numpy array."""
    return np.asarray(column) if isinstance(column, range) else column.cpu().numpy()


def write_columns(path: str | Path, columns: Mapping[str, Given], provenance: Mapping[str, Any]) -> None:
    """Write `arrow_table(columns, provenance)` to a Parquet file, `ROWS` rows at a time.

    Whole numbers are written as differences: ids that ascend take almost no space. A dictionary of all values
    would take more space and time than the values. The file is written atomically: if writing fails, the old
    file is unchanged.
    """
    _, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    whole = [n for n, column in columns.items() if isinstance(column, range) or column.dtype in _DIFFERENCES]
    n = max((len(column) for column in columns.values()), default=0)
    parts = (
        arrow_table({name: column[start : start + ROWS] for name, column in columns.items()}, provenance)
        for start in range(0, max(n, 1), ROWS)
    )
    first = next(parts)
    with replacing(path) as file, parquet.ParquetWriter(
        file,
        first.schema,
        use_dictionary=False,
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
    ) as writer:  # fmt: skip
        for part in itertools.chain([first], parts):
            writer.write_table(part, row_group_size=ROWS)


def read_columns(
    path: str | Path, required: tuple[str, ...], ids: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the columns and the metadata of a file. uint16, uint32 and uint64 columns become int64.

    Args:
        path: of the file.
        required: the columns that it must have.
        ids: a column that comes as `range(n)` if it counts the n rows from 0. All others are tensors.

    Raises:
        ValueError: if the file is damaged, has no rows, lacks a `required` column, or has a column that does
            not hold numbers. The error names the file.
    """
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"the table must be a Parquet file, but {path} is not a file.")
    try:
        with parquet.ParquetFile(
            path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
        ) as file:
            n, schema = file.metadata.num_rows, file.schema_arrow
            _refuse_unfit(path, n, schema, required, pa.types)
            found = {name: _Rows(n, name == ids) for name in schema.names}
            for part in file.iter_batches(-(-ROWS // 8), use_threads=False):
                for name, column in zip(schema.names, part.columns, strict=True):
                    found[name].add(f"{path}: column {name!r}", column)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (pa.ArrowException, OSError) as error:  # a damaged page or footer is pyarrow's OSError
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from error
    for name, rows in found.items():
        if rows.null:
            raise ValueError(
                f"{path}: column {name!r} must hold a number in every row, but {rows.null} rows are null."
            )
        if rows.end != n:
            raise ValueError(f"{path} is not a readable Parquet file: column {name!r} must have {n} rows.")
    columns = {name: rows.all() for name, rows in found.items()}
    return columns, _note(path, (schema.metadata or {}).get(b"samplewise", b"{}"))


def _refuse_unfit(path: str | Path, n: int, schema: Any, required: tuple[str, ...], types: Any) -> None:
    """Raise unless a file has rows, the required columns, and numbers in every column."""
    names = schema.names
    if missing := [name for name in required if name not in names]:
        raise ValueError(f"{path} must have a column {missing[0]!r}, but has only {names}.")
    if not n:
        raise ValueError(f"{path} has no rows.")
    for name, kind in zip(names, schema.types, strict=True):
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise ValueError(f"{path}: column {name!r} must hold numbers, got {kind}.")


class _Rows:
    """A column of n rows that is filled part by part. While it counts from 0, it takes no memory."""

    def __init__(self, n: int, counts: bool) -> None:
        self.n, self.counts, self.end, self.null = n, counts, 0, 0
        self.rows: Tensor | None = None

    def add(self, what: str, part: Any) -> None:
        """Append a part, an arrow array."""
        self.null += part.null_count
        if self.null or self.end + len(part) > self.n:
            self.end += len(part)
            return
        new = _tensor(what, part.to_numpy(zero_copy_only=False))
        here = torch.arange(self.end, self.end + len(new))
        if self.counts and not (new.dtype == torch.int64 and torch.equal(new, here)):
            self.counts, self.rows = False, torch.arange(self.n).to(new.dtype)
        if not self.counts:
            if self.rows is None:
                self.rows = torch.empty(self.n, dtype=new.dtype)
            self.rows[self.end : self.end + len(new)] = new
        self.end += len(new)

    def all(self) -> Given:
        """The whole column."""
        return range(self.n) if self.rows is None else self.rows


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the name of the file in front of any ValueError raised in the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _tensor(what: str, array: Any) -> Tensor:
    """Convert a column to a dtype with full torch support."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        if (whole := whole_numbers(array)) is None:
            raise ValueError(f"{what} must hold numbers below 2^63, got {array.max()}.")
        return whole
    wide = np.float32 if array.dtype == np.float16 else array.dtype
    return torch.from_numpy(np.array(array, dtype=wide))


def _note(path: str | Path, written: bytes) -> dict[str, Any]:
    """Read the metadata from the schema of a file."""
    try:
        note = json.loads(written)
    except (ValueError, RecursionError):
        note = None
    if not isinstance(note, dict):
        raise ValueError(
            f"{path}: the metadata 'samplewise' in the schema must be a JSON object, got "
            f"{written!r:.60}. Write the file again, or remove this metadata."
        )
    return note
