"""`write_rows`: the chosen rows of Parquet files, with all their columns and a weight."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from samplewise.checks import require
from samplewise.files.atomic import replacing
from samplewise.subset import Subset

__all__ = ["write_rows"]

_READ = 4096
"""Rows that are read at a time."""
_WRITTEN = 1 << 16
"""Rows of a row group that is written."""


def write_rows(subset: Subset, sources: Sequence[str | Path], path: str | Path) -> str:
    """Write the chosen rows of Parquet files: all columns, their types and order, and a column of weights.

    Files are read in pieces. The weight is a 32-bit float, 1 for a subset without weights. Its column is
    called `weight`, or `coreset_weight` if the data have a column `weight`.

    Args:
        subset: whose ids are the positions of rows, counted over all files.
        sources: the files, in the order of the samples.
        path: of the file to write.

    Returns:
        the name of the column of weights.

    Raises:
        ValueError: if the files have another number of rows than the subset was chosen from, or other columns
            than the first one.
    """
    pa, pq = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    files = [pq.ParquetFile(source) for source in sources]
    rows = sum(file.metadata.num_rows for file in files)
    n = int(subset.provenance.get("n", rows))
    if rows != n or (len(subset) and int(subset.ids[-1]) >= rows):
        raise ValueError(
            f"the scores are of {n:,} samples, but {', '.join(map(str, sources))} has {rows:,} rows. Give "
            "the training data that were scored, without --limit, --per-class or --imbalance."
        )
    schema = files[0].schema_arrow
    for source, file in zip(sources, files, strict=True):
        if not file.schema_arrow.equals(schema):
            raise ValueError(f"{source} must have the columns and types of {sources[0]}.")
    name = "coreset_weight" if "weight" in schema.names else "weight"
    whole = schema.append(pa.field(name, pa.float32()))
    with replacing(Path(path)) as file, pq.ParquetWriter(file, whole) as writer:
        waiting: list[Any] = []
        for batch in _chosen(files, subset):
            waiting.append(_weighted(pa, *batch, subset, whole))
            if sum(map(len, waiting)) >= _WRITTEN:
                writer.write_table(pa.Table.from_batches(waiting, whole))
                waiting = []
        writer.write_table(pa.Table.from_batches(waiting, whole))
    return name


def _chosen(files: Sequence[Any], subset: Subset) -> Iterator[tuple[Any, int, int]]:
    """The chosen rows of each piece, with the part of the subset that they are."""
    begun = 0
    for file in files:
        for batch in file.iter_batches(batch_size=_READ):
            ends = torch.tensor([begun, begun + len(batch)])
            first, last = torch.searchsorted(subset.ids, ends).tolist()
            if first < last:
                yield batch.take((subset.ids[first:last] - begun).numpy()), first, last
            begun += len(batch)


def _weighted(pa: Any, batch: Any, first: int, last: int, subset: Subset, schema: Any) -> Any:
    """A piece with its weights."""
    ones = torch.ones(last - first)
    weights = ones if subset.weights is None else subset.weights[first:last]
    columns = [*batch.columns, pa.array(weights.float().numpy(), pa.float32())]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
