"""Columns of numbers to a Parquet file and back, with a note in the schema; damaged files are refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplewise.atomic import replacing
from samplewise.checks import require

__all__ = ["read_columns", "write_columns"]


def write_columns(path: str | Path, columns: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> None:
    """Write columns of equal length; `provenance` goes into the schema as JSON under `samplewise`.

    The file is replaced whole: where it cannot be written, the one that was there is as it was.
    """
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    table = pa.table({name: column.cpu().numpy() for name, column in columns.items()})
    note = json.dumps(dict(provenance), default=str)
    table = table.replace_schema_metadata({"samplewise": note})
    with replacing(path) as file:
        parquet.write_table(table, file, write_page_checksum=True)


def read_columns(path: str | Path, required: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The columns and the note of a file.

    Raises:
        ValueError: for a file that is damaged, lacks a `required` column, or holds what is no number.
    """
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    except (pa.ArrowException, OSError) as error:  # a damaged page or footer is pyarrow's OSError
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from error
    if missing := [name for name in required if name not in table.column_names]:
        raise ValueError(f"{path} has no column {missing[0]!r}: it has {table.column_names}.")
    for name, column in zip(table.column_names, table.columns, strict=True):
        kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        if not any(is_kind(column.type) for is_kind in kinds):
            raise ValueError(f"{path}: column {name!r} must hold numbers, got {column.type}.")
        if column.null_count:
            raise ValueError(f"{path}: column {name!r} has empty cells.")
    note = (table.schema.metadata or {}).get(b"samplewise", b"{}")
    columns = {name: torch.from_numpy(np.array(table[name].to_numpy())) for name in table.column_names}
    return columns, json.loads(note)
