"""`SelectionHistory`: which samples each selection took, one bit for a sample and a selection."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from samplewise.checks import Range
from samplewise.data.bits import Bits
from samplewise.data.declared import Column, Fields, Items, Number, refuse_misfit

__all__ = ["SelectionHistory"]

WORD = "history_"
"""The columns `history_0`, `history_1`, ... of a file: bit k of column i belongs to selection 64 i + k."""
_BITS = 64


class SelectionHistory:
    """Which samples each selection took, in the order of the selections.

    A selection holds until the next one: `epochs` says in which epoch each was made. It takes n / 8 bytes.

    Args:
        n: the number of samples.

    >>> history = SelectionHistory(5)
    >>> history.add(0, torch.tensor([0, 2, 4]))
    >>> history.add(10, torch.tensor([2, 3]))
    >>> history.epochs, history.ids(1), history.of(2), history.times()
    ([0, 10], tensor([2, 3]), [0, 10], tensor([1, 0, 2, 1, 1]))
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.epochs: list[int] = []
        """The epoch in which each selection was made."""
        self._rows: list[UInt8[Tensor, " bytes"]] = []

    def __len__(self) -> int:
        return len(self.epochs)

    def add(self, epoch: int, ids: Int[Tensor, " k"] | Bits) -> None:
        """Note a selection."""
        if not isinstance(ids, Bits):
            taken = np.zeros(self.n, dtype=bool)
            taken[ids.cpu().numpy()] = True
            ids = Bits.where(taken)
        self.epochs.append(epoch)
        self._rows.append(ids.packed())

    def mask(self, selection: int) -> Bool[Tensor, " n"]:
        """Whether each sample was taken by a selection, numbered from 0."""
        row = self._rows[selection].numpy()
        return torch.from_numpy(np.unpackbits(row, count=self.n, bitorder="little").astype(bool))

    def ids(self, selection: int) -> Int[Tensor, " k"]:
        """The samples that a selection took, ascending."""
        return self.mask(selection).nonzero().squeeze(1)

    def of(self, sample: int) -> list[int]:
        """The epochs of the selections that took a sample."""
        if not 0 <= sample < self.n:
            raise ValueError(f"sample must be in [0, {self.n}), got {sample}.")
        byte, bit = divmod(sample, 8)
        return [
            epoch for epoch, row in zip(self.epochs, self._rows, strict=True) if int(row[byte]) >> bit & 1
        ]

    def times(self) -> Int[Tensor, " n"]:
        """How many selections took each sample."""
        total = torch.zeros(self.n, dtype=torch.int64)
        for selection in range(len(self)):
            total += self.mask(selection)
        return total

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SelectionHistory)
            and (self.n, self.epochs) == (other.n, other.epochs)
            and all(torch.equal(one, two) for one, two in zip(self._rows, other._rows, strict=True))
        )

    def __repr__(self) -> str:
        return f"SelectionHistory({len(self)} selections of {self.n:,} samples)"

    # ------------------------------------------------------------------------------ saved forms

    def state_dict(self) -> dict[str, Any]:
        """The selections as plain values and one tensor."""
        empty = torch.empty(0, -(-self.n // 8), dtype=torch.uint8)
        return {"epochs": list(self.epochs), "bits": torch.stack(self._rows) if self._rows else empty}

    @classmethod
    def from_state(cls, n: int, state: Mapping[str, Any]) -> "SelectionHistory":
        """What `state_dict` returned for n samples.

        Raises:
            ValueError: if it does not fit.
        """
        bits = Column((torch.uint8,), (None, -(-n // 8)))
        epochs = Items(Number(Range(0), whole=True))
        refuse_misfit("the history", state, Fields({"epochs": epochs, "bits": bits}))
        if len(state["bits"]) != len(state["epochs"]):
            raise ValueError(
                f"the history must have one epoch for each selection, got {len(state['epochs'])} epochs and "
                f"{len(state['bits'])} selections."
            )
        made = cls(n)
        made.epochs, made._rows = list(state["epochs"]), list(state["bits"].cpu().clone())
        return made

    def columns(self) -> dict[str, Int[Tensor, " n"]]:
        """The columns of a file, by name: 64 selections in each."""
        found = {}
        for first in range(0, len(self), _BITS):
            word = torch.zeros(self.n, dtype=torch.int64)
            for bit in range(min(_BITS, len(self) - first)):
                word |= self.mask(first + bit).long() << bit
            found[f"{WORD}{first // _BITS}"] = word
        return found

    @classmethod
    def from_columns(cls, n: int, epochs: Any, columns: Mapping[str, Tensor]) -> "SelectionHistory":
        """What `columns` returned, with the epochs of the selections.

        Raises:
            ValueError: if a column is missing, or holds other than whole numbers.
        """
        refuse_misfit("the history's epochs", epochs, Items(Number(Range(0), whole=True)))
        made = cls(n)
        for selection, epoch in enumerate(epochs):
            name = f"{WORD}{selection // _BITS}"
            if name not in columns or columns[name].dtype != torch.int64:
                raise ValueError(
                    f"a table with the history of {len(epochs)} selections must have the int64 column "
                    f"{name!r}, but has {'none' if name not in columns else str(columns[name].dtype)}."
                )
            made.add(epoch, (columns[name] >> selection % _BITS & 1).nonzero().squeeze(1))
        return made
