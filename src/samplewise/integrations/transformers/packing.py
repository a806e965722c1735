"""TRL's packed data: the sequences of its rows, and batches of as many sequences as fit into the tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Sampler

from samplewise.packed import IGNORED

__all__ = ["PackedBatches", "Packing", "packing_of", "packs"]

_LENGTHS = "seq_lengths"
"""The column in which TRL notes the lengths of the sequences of a row."""


@dataclass(frozen=True)
class Packing:
    """The sequences of a packed data set. A batch takes the next ones of the epoch's order, while they fit.

    Args:
        dataset: one sequence each, in the order of the packed rows.
        lengths: (n,), tokens of each sequence.
        tokens: what a batch holds at most: rows times `max_length`.
    """

    dataset: Any
    lengths: Int[Tensor, " n"]
    tokens: int

    @property
    def batch_size(self) -> int:
        """The number of sequences that a batch holds on average."""
        return max(1, round(len(self.lengths) * self.tokens / max(1, int(self.lengths.sum()))))

    @property
    def most(self) -> int:
        """The number of batches that no epoch exceeds: any two in a row hold more than `tokens`."""
        return 2 * int(self.lengths.sum()) // self.tokens + 1

    def batches(self, samples: int) -> int:
        """About how many batches this number of sequences makes."""
        share = samples / max(1, len(self.lengths))
        return -int(-share * int(self.lengths.sum()) // self.tokens)

    def ends(self, order: Int[Tensor, " k"]) -> list[int]:
        """The number of sequences up to the end of each batch.

        >>> Packing(None, torch.tensor([4, 3, 5, 2]), tokens=7).ends(torch.tensor([2, 3, 0, 1]))
        [2, 4]
        """
        sums, found = self.lengths[order].cumsum(0), list[int]()
        while not found or found[-1] < len(order):
            used = int(sums[found[-1] - 1]) if found else 0
            found.append(int(torch.searchsorted(sums, used + self.tokens, right=True)))
        return found


class PackedBatches(Sampler[list[int]]):
    """The ids of one batch after the other, as many as fit into the tokens.

    Args:
        packing: has the lengths.
        sampler: the order of the epoch.
    """

    def __init__(self, packing: Packing, sampler: Sampler[int]) -> None:
        self.packing, self.sampler = packing, sampler

    def __len__(self) -> int:
        return self.packing.most

    def __iter__(self) -> Iterator[list[int]]:
        lengths, batch, used = self.packing.lengths.numpy(), list[int](), 0
        for id in self.sampler:
            if batch and used + lengths[id] > self.packing.tokens:
                yield batch
                batch, used = [], 0
            batch.append(id)
            used += lengths[id]
        if batch:
            yield batch


def packs(args: Any) -> bool:
    """Whether rows of the data set hold marked sequences. Those of `wrapped` are blocks of tokens."""
    return bool(getattr(args, "packing", False)) and args.packing_strategy != "wrapped"


def packing_of(args: Any, rows: Any, batch_size: int) -> Packing | None:
    """The packing of an SFTTrainer; None if its rows are samples.

    Args:
        args: the arguments of a Trainer.
        rows: its data set.
        batch_size: rows of a batch.

    Raises:
        ValueError: if the rows do not tell their sequences, or no token of them is trained.
    """
    if not packs(args):
        return None
    if _LENGTHS not in (names := getattr(rows, "column_names", None) or []):
        raise ValueError(
            f"packing=True needs the column {_LENGTHS} in the data set, got {', '.join(names) or 'none'}. "
            "Let SFTTrainer prepare the data, or set SFTConfig(packing=False)."
        )
    sequences = rows.map(_split, batched=True, remove_columns=names, desc="Taking packed rows apart")
    if not len(sequences):
        raise ValueError(
            "no sequence of the data set has a token that is trained: every label is -100 or a first token. "
            "Look at the chat template, completion_only_loss, assistant_only_loss and max_length."
        )
    lengths = torch.tensor([*sequences[_LENGTHS]])
    tokens = batch_size * max(args.max_length or 0, *map(sum, rows[_LENGTHS]))
    return Packing(sequences.remove_columns(_LENGTHS), lengths, tokens)


def _split(rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The columns of packed rows, with one entry for each sequence that has a trained token."""
    found: dict[str, list[Any]] = {name: [] for name in rows}
    for i, lengths in enumerate(rows[_LENGTHS]):
        ends = [*accumulate(lengths)]
        for begun, end in zip([0, *ends], ends, strict=False):
            labels = rows["labels" if "labels" in rows else "input_ids"][i][begun + 1 : end]
            if all(label == IGNORED for label in labels):
                continue
            for name, values in found.items():
                values.append(end - begun if name == _LENGTHS else rows[name][i][begun:end])
    return found
