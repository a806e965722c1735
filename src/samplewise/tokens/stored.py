"""Numbers of every token of n rows in a Parquet file: written in blocks, and opened as a mapped file."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.checks import require
from samplewise.files.atomic import replacing

__all__ = ["Block", "Opened", "holds_tokens", "open_rows", "write_rows"]

_KINDS = {"halffloat": np.float16, "float": np.float32}


class Block(NamedTuple):
    """The losses of some rows."""

    lengths: Any
    """(b,), int64 of numpy: the number of losses of each row."""
    values: Any
    """Those of all rows one after the other, float16 or float32 of numpy."""
    digests: Any
    """(b,), int64 of numpy: of the tokens of each row."""


class Opened(NamedTuple):
    """What a file holds. `values` is a memory-mapped array."""

    starts: Int[Tensor, " n1"]
    values: Any
    digests: Int[Tensor, " n"]
    provenance: Mapping[str, Any]


def write_rows(path: str | Path, blocks: Iterable[Block], half: bool, note: dict[str, Any]) -> None:
    """Write blocks of rows, in the order of ids from 0 on, as they come. A block is a row group.

    Args:
        path: of the file. If writing fails, an old file is unchanged.
        blocks: are taken one after the other, so only one is in memory.
        half: whether losses are written as float16.
        note: JSON metadata of the schema. It is read when all blocks are written.
    """
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    kind = pa.float16() if half else pa.float32()
    schema = pa.schema({"id": pa.int64(), "losses": pa.list_(kind), "digest": pa.int64()})
    first = 0
    with replacing(path) as file:
        writer = parquet.ParquetWriter(file, schema, use_dictionary=False, write_page_checksum=True)
        with writer:
            for lengths, values, digests in blocks:
                offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
                ids = np.arange(first, first + len(lengths))
                lists = pa.ListArray.from_arrays(offsets, pa.array(values, kind))
                writer.write_table(pa.table([ids, lists, digests], schema=schema))
                first += len(lengths)
            writer.add_key_value_metadata({"samplewise": json.dumps(note, default=str)})


def holds_tokens(path: str | Path) -> bool:
    """Whether a file is one that `write_rows` wrote, by its columns. False if it cannot be read."""
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    try:
        return {"losses", "digest"} <= set(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False


def open_rows(path: str | Path) -> Opened:
    """Decode a file block by block into a temporary file beside it, and map that. It ends with the process.

    Raises:
        ValueError: if the file is damaged, or does not hold the rows of `write_rows`.
    """
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    if not Path(path).exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with parquet.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            return _decoded(path, file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from error


def _decoded(path: str | Path, file: Any) -> Opened:
    schema = file.schema_arrow
    listed = schema.field("losses").type if "losses" in schema.names else None
    kind = _KINDS.get(str(getattr(listed, "value_type", "")))
    if kind is None or not {"id", "digest"} <= set(schema.names):
        raise ValueError(
            f"{path} must have the columns id, losses (lists of float16 or float32) and digest, but has "
            f"{', '.join(f'{f.name} ({f.type})' for f in schema)}. sw.reference_losses(...) writes them."
        )
    lengths, digests, first = [], [], 0
    with _beside(path) as raw:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number).combine_chunks()
            ids = table["id"].to_numpy()
            if not np.array_equal(ids, np.arange(first, first + len(ids))):
                raise ValueError(f"{path} must hold the ids 0, 1, ... in this order. Write it again.")
            first += len(ids)
            rows = table["losses"].combine_chunks()
            lengths.append(np.diff(rows.offsets.to_numpy()).astype(np.int64))
            raw.write(rows.flatten().to_numpy(zero_copy_only=False).astype(kind).tobytes())
            digests.append(table["digest"].to_numpy())
        raw.flush()
        if not first:
            raise ValueError(f"{path} has no rows.")
        starts = torch.from_numpy(np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))
        empty = not int(starts[-1])  # an empty file cannot be mapped
        values = np.zeros(0, kind) if empty else np.memmap(raw, kind, mode="r")
    written = (file.metadata.metadata or {}).get(b"samplewise", b"{}")
    return Opened(starts, values, torch.from_numpy(np.concatenate(digests)), json.loads(written))


def _beside(path: str | Path) -> Any:
    """A temporary file on the disk of `path`; if that cannot be written to, where temporary files are."""
    try:
        return tempfile.TemporaryFile(dir=Path(path).resolve().parent)
    except OSError:
        return tempfile.TemporaryFile()
