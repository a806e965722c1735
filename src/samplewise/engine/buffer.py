"""The buffer that recording copies into. Signals are computed later, in chunks of thousands of rows."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from samplewise.data.ids import first_of_each
from samplewise.data.outputs import Outputs

__all__ = ["CHUNK", "Buffer"]

CHUNK = 8192
"""Least number of rows of a chunk. Only the last one of an epoch may have fewer."""


class Buffer:
    """Rows of ids and outputs in memory that is allocated once, filled batch by batch.

    A step costs one copy of each field. Nothing is computed from them before `chunks`.

    Args:
        fields: names of the fields of `Outputs` that are kept.
        ids: the ids of the first batch, for its size and device.
        outputs: the outputs of the first batch, for types and shapes.
    """

    def __init__(self, fields: tuple[str, ...], ids: Int[Tensor, " b"], outputs: Outputs) -> None:
        size = CHUNK + len(ids)
        self.fields = fields
        self._ids = torch.empty(size, dtype=torch.int64, device=ids.device)
        self._good = torch.empty(size, dtype=torch.bool, device=ids.device)
        self._columns: dict[str, Tensor] = {}
        for name in fields:
            like = _field(outputs, name)
            whole = not like.is_floating_point()
            self._columns[name] = torch.empty(
                (size, *like.shape[1:]), dtype=torch.int64 if whole else torch.float32, device=like.device
            )
        self._view()
        self._head: tuple[Tensor, Tensor | None] | None = None
        self._starts: list[int] = []
        self._used, self._flagged = 0, False

    def _view(self) -> None:
        """Look at the tensors as arrays: on a CPU numpy copies a batch in half of torch's time."""
        on_cpu = self._ids.is_cpu and all(column.is_cpu for column in self._columns.values())
        views = (
            [(name, column.dtype, column.numpy()) for name, column in self._columns.items()] if on_cpu else []
        )
        self._views: list[tuple[str, torch.dtype, Any]] = views
        self._id_view: Any = self._ids.numpy() if on_cpu else None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_views", "_id_view")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copied array would no longer be a view of the copied tensor.
        vars(self).update(state)
        self._view()

    def __len__(self) -> int:
        return self._used

    def room(self, b: int) -> bool:
        """Whether b more rows fit."""
        return self._used + b <= len(self._ids)

    def add(self, ids: Int[Tensor, " b"], outputs: Outputs, good: Bool[Tensor, " b"] | None) -> None:
        """Copy one batch; rows that are not `good` are left out when chunks are made."""
        start, end = self._used, self._used + len(ids)
        if self._id_view is not None and ids.is_cpu:
            self._id_view[start:end] = ids.numpy()
            b = end - start
            for name, dtype, view in self._views:
                value = getattr(outputs, name)
                if value is None or value.shape[0] != b or value.dtype is not dtype or not value.is_cpu:
                    self._columns[name][start:end] = _field(outputs, name)
                else:
                    view[start:end] = (value.detach() if value.requires_grad else value).numpy()
        else:
            self._ids[start:end] = ids
            for name, column in self._columns.items():
                column[start:end] = _field(outputs, name)
        if good is not None:
            if not self._flagged:
                self._good[:start], self._flagged = True, True
            self._good[start:end] = good
        elif self._flagged:
            self._good[start:end] = True
        self._head = outputs.head
        self._starts.append(start)
        self._used = end

    def chunks(self) -> Iterator[tuple[Int[Tensor, " m"], Outputs]]:
        """All rows in their order, cut so that no chunk has an id twice. The buffer is empty afterwards.

        Of an id that a batch has twice, as padding of a sampler, the first row counts.
        """
        used, starts, self._used = self._used, self._starts, 0
        self._starts = []
        for rows in _parts(self._ids[:used], [*starts, used]):
            kept = rows if rows is None or not self._flagged else rows[self._good[rows]]
            if rows is None and self._flagged:
                kept = self._good[:used].nonzero().squeeze(1)
            yield self._taken(used, kept)
        self._flagged = False

    def _taken(self, used: int, rows: Tensor | None) -> tuple[Tensor, Outputs]:
        def take(column: Tensor) -> Tensor:
            return column[:used] if rows is None else column[rows]

        ids = take(self._ids)
        shown = {name: take(column) for name, column in self._columns.items()}
        loss = shown.pop("loss", None)
        loss = torch.zeros((), device=ids.device).expand(len(ids)) if loss is None else loss
        return ids, Outputs(loss=loss, head=self._head, **shown)


def _field(outputs: Outputs, name: str) -> Tensor:
    value: Tensor | None = getattr(outputs, name)
    if value is None:
        raise ValueError(f"recording needs {name}: observe sw.Outputs(loss=..., {name}=...).")
    if value.shape[0] != outputs.loss.shape[0]:
        raise ValueError(f"{name} must have {len(outputs.loss)} rows, one for each loss, got {len(value)}.")
    return value.detach() if value.requires_grad else value


def _parts(ids: Tensor, bounds: list[int]) -> Iterator[Tensor | None]:
    """Row numbers of consecutive parts that have each id once. None: all rows in one part."""
    if not len(ids):
        return
    if len(first_of_each(ids)) == len(ids):
        yield None
        return
    rows: list[Tensor] = []
    seen = torch.empty(0, dtype=torch.int64, device=ids.device)
    for start, end in pairwise(bounds):
        mine = first_of_each(ids[start:end]) + start
        if rows and torch.isin(ids[mine], seen).any():
            yield torch.cat(rows)
            rows, seen = [], seen[:0]
        rows.append(mine)
        seen = torch.cat([seen, ids[mine]])
    yield torch.cat(rows)
