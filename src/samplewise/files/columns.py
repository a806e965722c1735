"""Writing columns of numbers to Parquet and reading them, with JSON metadata in the schema."""

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

__all__ = ["arrow_table", "naming", "read_columns", "write_columns"]

_DIFFERENCES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
"""Types that are written as differences."""


def arrow_table(columns: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> Any:
    """Make a `pyarrow.Table` of equally long columns, with `provenance` as JSON in its schema."""
    table = require("pyarrow", "scores").table(
        {name: column.cpu().numpy() for name, column in columns.items()}
    )
    return table.replace_schema_metadata({"samplewise": json.dumps(dict(provenance), default=str)})


def write_columns(path: str | Path, columns: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> None:
    """Write `arrow_table(columns, provenance)` to a Parquet file.

    Whole numbers are written as differences: ids that ascend take almost no space. A dictionary of all values
    would take more space and time than the values. The file is written atomically: if writing fails, the old
    file is unchanged.
    """
    table, parquet = arrow_table(columns, provenance), require("pyarrow.parquet", "scores")
    whole = [name for name, column in columns.items() if column.dtype in _DIFFERENCES]
    encoding = dict.fromkeys(whole, "DELTA_BINARY_PACKED")
    with replacing(path) as file:
        parquet.write_table(
            table, file, use_dictionary=False, column_encoding=encoding, write_page_checksum=True
        )


def read_columns(path: str | Path, required: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the columns and the metadata of a file. uint16, uint32 and uint64 columns become int64.

    Raises:
        ValueError: if the file is damaged, has no rows, lacks a `required` column, or has a column that does
            not hold numbers. The error names the file.
    """
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"the table must be a Parquet file, but {path} is not a file.")
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (pa.ArrowException, OSError) as error:  # a damaged page or footer is pyarrow's OSError
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from error
    names = table.column_names
    if missing := [name for name in required if name not in names]:
        raise ValueError(f"{path} must have a column {missing[0]!r}, but has only {names}.")
    if not table.num_rows:
        raise ValueError(f"{path} has no rows.")
    for name, column in zip(names, table.columns, strict=True):
        kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        if not any(is_kind(column.type) for is_kind in kinds):
            raise ValueError(f"{path}: column {name!r} must hold numbers, got {column.type}.")
        if column.null_count:
            raise ValueError(
                f"{path}: column {name!r} must hold a number in every row, but {column.null_count} rows "
                "are null."
            )
    columns = {name: _tensor(f"{path}: column {name!r}", table[name].to_numpy()) for name in names}
    return columns, _note(path, (table.schema.metadata or {}).get(b"samplewise", b"{}"))


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
