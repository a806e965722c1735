"""`Subset`: the samples that were chosen, their weights and their origin, in memory and as Parquet."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.parquet import read_columns, write_columns

__all__ = ["Subset"]


@runtime_checkable
class Scored(Protocol):
    """The n rows that a subset is a part of: a `ScoreTable`."""

    @property
    def ids(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor | None: ...

    @property
    def columns(self) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True, eq=False, repr=False)
class Subset:
    """Samples of a data set: `ids` ascending (k,), a weight for each or None for all 1, and their origin.

    `weighting` says what a weight does: it multiplies its own sample's loss (`per_sample`), or the
    batch's mean loss is multiplied by the batch's mean weight (`batch_mean`).
    """

    ids: Int[Tensor, " k"]
    weights: Float[Tensor, " k"] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    weighting: Literal["per_sample", "batch_mean"] = "per_sample"

    def __post_init__(self) -> None:
        if self.weighting not in ("per_sample", "batch_mean"):
            raise ValueError(
                f"Subset.weighting must be one of 'per_sample', 'batch_mean', got {self.weighting!r}."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Subset) or self.weighting != other.weighting:
            return False
        mine, its = self.weights, other.weights
        same = mine is its or (mine is not None and its is not None and torch.equal(mine, its))
        return same and torch.equal(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        drawn = hashlib.sha256(self.ids.cpu().numpy().tobytes())
        if self.weights is not None:
            drawn.update(self.weights.cpu().numpy().tobytes())
        weighted = "" if self.weights is None else f", weighted {self.weighting}"
        return f"Subset({len(self.ids)} ids{weighted}, sha256 {drawn.hexdigest()[:12]})"

    def to_parquet(self, path: str | Path, table: Scored | None = None) -> None:
        """Write the columns `id`, `selected` and `weight`; the provenance goes into the schema.

        Args:
            path: of the file.
            table: the `ScoreTable` that the subset was made of: with it all n rows are written, with
                `label` and the score columns, and those that are not selected have weight 0.
        """
        weights = torch.ones(len(self.ids)) if self.weights is None else self.weights
        columns = {"id": self.ids}
        selected = torch.ones(len(self.ids), dtype=torch.bool)
        if table is not None:
            selected = torch.isin(table.ids, self.ids)
            if int(selected.sum()) != len(self.ids):
                raise ValueError(f"the table has {len(table.ids)} rows, but not all ids of the subset.")
            columns = {"id": table.ids}
            columns |= {} if table.labels is None else {"label": table.labels}
            columns |= dict(table.columns)
            weights = torch.zeros(len(table.ids)).masked_scatter(selected, weights.float())
        note = {**self.provenance, "weighting": self.weighting}
        write_columns(path, columns | {"selected": selected, "weight": weights}, note)

    @classmethod
    def read(cls, path: str | Path) -> "Subset":
        """Read what `to_parquet` wrote, with or without the rows that were not selected."""
        columns, provenance = read_columns(path, ("id", "weight"))
        weighting = provenance.pop("weighting", "per_sample")
        ids, weights = columns["id"], columns["weight"]
        if "selected" in columns:
            ids, weights = ids[columns["selected"].bool()], weights[columns["selected"].bool()]
        return cls(ids, None if bool((weights == 1).all()) else weights, provenance, weighting)
