"""`Subset`: the chosen samples, their weights and their origin, in memory and as a Parquet file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.checks import Range
from samplewise.data.byid import by_id, numbers
from samplewise.data.declared import Fields, Is, Maybe, Number, OneOf, refuse_misfit
from samplewise.data.html import html_table
from samplewise.files.columns import naming, read_columns, write_columns

__all__ = ["Subset"]


@runtime_checkable
class Table(Protocol):
    """All n rows, of which a subset is a part: a `ScoreTable`."""

    @property
    def ids(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor | None: ...

    @property
    def columns(self) -> Mapping[str, Tensor]: ...


_SPENT = Fields({"cost": Number(Range(0)), "seconds": Number(Range(0))})
_PROVENANCE = Fields(
    {
        "n": Number(Range(1), whole=True),
        "keep": Number(Range(0, 1, open_low=True)),
        "weights": Is(str),
        "fingerprint": Maybe(Is(str)),
        "scoring": Maybe(_SPENT),
    },
    optional=True,
)
"""The parts of a subset's origin that a training reads."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Subset:
    """Samples of a data set: `ids` (k,) in ascending order, their weights, and their origin.

    `weights` is None if all weights are 1. `weighting` says what a weight does. With `per_sample` it
    multiplies the loss of its own sample. With `batch_mean` the mean weight of a batch multiplies the mean
    loss of the batch.

    Ids and weights may also be lists, arrays or columns of a data frame, with any kind of numbers and in any
    order. They are sorted by id, and the weights become float32.

    Raises:
        ValueError: if an id is negative or comes twice, or if a weight is not finite and above 0.

    >>> Subset([7, 1], [2, 3]).ids, Subset([7, 1], [2, 3]).weights
    (tensor([1, 7]), tensor([3., 2.]))
    """

    ids: Int[Tensor, " k"]
    weights: Float[Tensor, " k"] | None
    provenance: Mapping[str, Any]
    weighting: Literal["per_sample", "batch_mean"]

    def __init__(
        self,
        ids: Any,
        weights: Any = None,
        provenance: Mapping[str, Any] | None = None,
        weighting: Any = "per_sample",
    ) -> None:
        provenance = {} if provenance is None else provenance
        refuse_misfit("Subset.weighting", weighting, OneOf(("per_sample", "batch_mean")))
        refuse_misfit("Subset.provenance", provenance, _PROVENANCE)
        ids, rows = by_id("Subset", ids, {} if weights is None else {"weights": _as_weights(weights)})
        own = {"ids": ids, "weights": rows.get("weights"), "provenance": provenance, "weighting": weighting}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def weighted(self) -> bool:
        """Whether it has weights."""
        return self.weights is not None

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

    def _repr_html_(self) -> str:
        named = {"id": self.ids} | ({} if self.weights is None else {"weight": self.weights})
        rows = zip(*(column[:10].tolist() for column in named.values()), strict=True)
        cells = [[f"{cell:.6g}" for cell in row] for row in rows]
        return html_table(cells, list(named), f"{self!r}, the first {len(cells)}")

    def of(self, dataset: Any) -> Any:
        """The chosen samples of a data set, in its order.

        Args:
            dataset: that the subset was chosen from: a `datasets.Dataset`, of which the result is one too, or
                any map-style data set, of which it is a `torch.utils.data.Subset`.

        Raises:
            ValueError: if the data set has another number of samples.
        """
        n = int(self.provenance.get("n", 0)) or None
        least = int(self.ids[-1]) + 1 if len(self) else 0
        if (n or least) > len(dataset) or (n is not None and len(dataset) != n):
            wanted = f"{n:,}" if n is not None else f"at least {least:,}"
            raise ValueError(
                f"the subset was chosen from {wanted} samples, but the data set has {len(dataset):,}. Give "
                "the training data that were scored, in the same order."
            )
        if hasattr(dataset, "select") and hasattr(dataset, "column_names"):
            return dataset.select(self.ids.numpy())
        return torch.utils.data.Subset(dataset, self.ids.tolist())

    def to_parquet(self, path: str | Path, table: Table | None = None) -> None:
        """Write the columns `id`, `selected` and `weight`. The provenance is stored in the schema.

        Args:
            path: the file to write.
            table: the `ScoreTable` that the subset was made from. If given, all its rows are written, with
                `label` and the score columns. Rows that are not selected have weight 0.
        """
        weights = torch.ones(len(self.ids)) if self.weights is None else self.weights
        columns = {"id": self.ids}
        selected = torch.ones(len(self.ids), dtype=torch.bool)
        if table is not None:
            selected = torch.isin(table.ids, self.ids)
            if lacking := len(self.ids) - int(selected.sum()):
                raise ValueError(
                    f"to_parquet(table=...) must have every id of the subset, but {lacking} of "
                    f"{len(self.ids)} ids are missing. Give the table that the subset was made from."
                )
            columns = {"id": table.ids}
            columns |= {} if table.labels is None else {"label": table.labels}
            columns |= dict(table.columns)
            weights = torch.zeros(len(table.ids)).masked_scatter(selected, weights.float())
        note = {**self.provenance, "weighting": self.weighting}
        write_columns(path, columns | {"selected": selected, "weight": weights}, note)

    @classmethod
    def read(cls, path: str | Path) -> "Subset":
        """Read a file of `to_parquet`, with or without rows that are not selected."""
        columns, provenance = read_columns(path, ("id", "weight"))
        weighting = provenance.pop("weighting", "per_sample")
        ids, weights = columns["id"], columns["weight"]
        if "selected" in columns:
            selected = columns["selected"].bool()
            ids, weights = ids[selected], weights[selected]
            if not len(ids):
                raise ValueError(
                    f"{path} must have at least one selected row, but `selected` is false in all rows."
                )
        with naming(path):
            return cls(ids, None if bool((weights == 1).all()) else weights, provenance, weighting)


def _as_weights(given: Any) -> Float[Tensor, " k"]:
    """Weights of any kind of numbers as float32 on the CPU."""
    weights = numbers("Subset.weights", given).to("cpu", torch.float32)
    if len(odd := weights[~((weights > 0) & torch.isfinite(weights))]):
        raise ValueError(
            f"Subset.weights must be finite and above 0, got {odd[0].item():g} ({len(odd)} such weights). "
            "Leave out samples of weight 0."
        )
    return weights
