"""`Subset` and `ScoreTable`: what was chosen and what was measured, in memory and as Parquet."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from samplewise.checks import nearest, require

__all__ = ["ScoreTable", "Subset", "versions"]


@dataclass(frozen=True)
class Subset:
    """Samples of a data set: `ids` ascending (k,), a weight for each or None for all 1, and their origin."""

    ids: Int[Tensor, " k"]
    weights: Float[Tensor, " k"] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def to_parquet(self, path: str | Path) -> None:
        """Write the columns `id` and `weight`; the provenance goes into the schema."""
        weights = torch.ones(len(self.ids)) if self.weights is None else self.weights
        _write(path, {"id": self.ids, "weight": weights}, self.provenance)

    @classmethod
    def read(cls, path: str | Path) -> "Subset":
        """Read what `to_parquet` wrote."""
        columns, provenance = _read(path, ("id", "weight"))
        weights = columns["weight"]
        return cls(columns["id"], None if bool((weights == 1).all()) else weights, provenance)


@dataclass(frozen=True)
class ScoreTable:
    """One row a sample: its id, every score column (NaN: never observed), how often it was selected.

    `times_selected` counts selections: epochs planned, or batches it was back-propagated in. A
    choice that is kept for a period counts once.
    """

    ids: Int[Tensor, " n"]
    columns: Mapping[str, Shaped[Tensor, " n"]]
    times_selected: Int[Tensor, " n"]
    labels: Int[Tensor, " n"] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Shaped[Tensor, " n"]:
        """A score column by name."""
        if name not in self.columns:
            has = ", ".join(self.columns) or "none"
            raise ValueError(f"no score column {name!r}.{nearest(name, self.columns)} Columns: {has}.")
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.ids)

    def to_parquet(self, path: str | Path) -> None:
        """Write `id`, `label` if known, the score columns and `times_selected`; provenance in the schema."""
        columns = {"id": self.ids}
        if self.labels is not None:
            columns["label"] = self.labels
        _write(
            path,
            columns | dict(self.columns) | {"times_selected": self.times_selected},
            self.provenance,
        )

    @classmethod
    def read(cls, path: str | Path) -> "ScoreTable":
        """Read what `to_parquet` wrote."""
        columns, provenance = _read(path, ("id", "times_selected"))
        ids, times, labels = (
            columns.pop("id"),
            columns.pop("times_selected"),
            columns.pop("label", None),
        )
        return cls(ids, columns, times, labels, provenance)

    @classmethod
    def combine(cls, tables: Sequence["ScoreTable"], how: Literal["mean", "sum"] = "mean") -> "ScoreTable":
        """Several runs over the same data set: score columns are averaged or summed, selections summed."""
        if not tables:
            raise ValueError("combine needs at least one table.")
        if how not in ("mean", "sum"):
            raise ValueError(f"how must be one of 'mean', 'sum', got {how!r}.")
        first = tables[0]
        for table in tables[1:]:
            same = len(table) == len(first) and bool((table.ids == first.ids).all())
            prints = {t.provenance.get("fingerprint") for t in (first, table)}
            if not same or len(prints) > 1 or table.columns.keys() != first.columns.keys():
                raise ValueError("combine needs tables of the same data set with the same columns.")
        columns = {}
        for name in first.columns:
            stacked = torch.stack([table.columns[name].double() for table in tables])
            columns[name] = stacked.mean(0) if how == "mean" else stacked.sum(0)
        times = torch.stack([table.times_selected for table in tables]).sum(0)
        provenance: dict[str, Any] = {"combined": how, "runs": [dict(table.provenance) for table in tables]}
        provenance["fingerprint"] = first.provenance.get("fingerprint")
        return cls(first.ids, columns, times, first.labels, provenance)


def versions() -> dict[str, str]:
    """What made a table, a subset or a run."""
    return {
        "samplewise": metadata.version("samplewise"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def _write(path: str | Path, columns: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> None:
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    table = pa.table({name: column.cpu().numpy() for name, column in columns.items()})
    note = json.dumps(dict(provenance), default=str)
    table = table.replace_schema_metadata({"samplewise": note})
    parquet.write_table(table, path, write_page_checksum=True)


def _read(path: str | Path, required: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    pa, parquet = require("pyarrow", "scores"), require("pyarrow.parquet", "scores")
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise
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
