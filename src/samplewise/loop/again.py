"""Which batch is one that a step was made of already: SAM and LBFGS evaluate the loss of a batch again."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.loop.step import Chosen

__all__ = ["Made", "Steps"]

_REMEMBERED = 64
"""Steps that are remembered: as many batches may be evaluated first and then again, as in accumulation."""


@dataclass(slots=True)
class Made:
    """A step: its batch, and what was chosen of it."""

    ids: Int[Tensor, " b"]
    data: Any
    """The batch's data, where its ids name no samples; else None."""
    chosen: Chosen
    rows: int
    """Rows of the batch on this process, without padding."""
    version: int
    """Of the tensor of ids, which a loop may write the next batch into."""

    @classmethod
    def of(cls, ids: Int[Tensor, " b"], data: Any, chosen: Chosen, rows: int) -> "Made":
        """The step that is made now."""
        return cls(ids, data, chosen, rows, _version(ids))


class Steps:
    """The last steps of the open epoch.

    An epoch has every sample once, so a batch with the ids of an earlier one is that batch. It is found by
    its tensor of ids. Where it was made anew (moved to a device once more), its ids are compared, but only if
    no batch came from the loader since the last step: the ordinary loop compares nothing.
    """

    def __init__(self) -> None:
        self._made: dict[int, Made] = {}
        self._last: Made | None = None
        self._came = False

    def forget(self) -> None:
        """An epoch begins, for the first time or again."""
        self._made, self._last, self._came = {}, None, False

    def came(self) -> None:
        """The loader handed out a batch."""
        self._came = True
        if self._last is not None and self._last.chosen.evaluated:
            self._last = None

    @property
    def last(self) -> Made | None:
        """The step whose losses may come again without another batch; None once the next batch came."""
        return self._last

    def add(self, made: Made) -> None:
        """A step is made."""
        if len(self._made) >= _REMEMBERED:
            del self._made[next(iter(self._made))]
        self._made[id(made.ids)] = self._last = made
        self._came = False

    def find(self, ids: Int[Tensor, " b"], data: Any, by_ids: bool, metered: bool) -> Made | None:
        """The step that was made of this batch, if there was one.

        Args:
            ids: of the batch.
            data: of the batch.
            by_ids: whether ids name samples; else only the same ids with the same data are the same batch.
            metered: whether the epoch's batches come from a loader that tells when one comes.
        """
        found = self._made.get(id(ids))
        if found is not None and found.ids is ids and found.version == _version(ids):
            return self._again(found) if len(ids) and (by_ids or found.data is data) else None
        # Comparing waits for an accelerator, which a loop without our loader would have to do in every step.
        if self._came or not self._made or not by_ids or not len(ids) or not (metered or ids.is_cpu):
            return None
        for one in reversed(self._made.values()):
            same = len(one.ids) == len(ids) and one.ids.device == ids.device
            if same and one.version == _version(one.ids) and torch.equal(one.ids, ids):
                return self._again(one)
            if not metered:
                break
        return None

    def _again(self, made: Made) -> Made:
        self._last = made
        return made


def _version(ids: Tensor) -> int:
    return 0 if ids.is_inference() else ids._version
