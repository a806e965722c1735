"""The last steps: whether a batch was trained on before, as SAM and LBFGS evaluate a batch several times."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise.cost.ledger import Ledger
from samplewise.data.outputs import Outputs
from samplewise.distributed import collectives
from samplewise.loop.position import Position

__all__ = ["Chosen", "Made", "Steps"]

_REMEMBERED = 64
"""Number of remembered steps. Accumulation may evaluate this many batches before it evaluates them again."""


@dataclass(slots=True)
class Chosen:
    """The rows that a step trains on."""

    ids: Int[Tensor, " k"]
    weights: Float[Tensor, " k"] | None = None
    """The weights that `choose` gave. None: all 1, or the plan's where `whole`."""
    whole: bool = True
    """Whether the step trains on the whole batch, with the weights of the plan."""
    unseen: bool = True
    """Whether the losses are still to be observed."""
    real: int | None = None
    """Number of leading rows that are real, not padding. None: every process has a full batch."""
    total: int = 0
    """Number of real rows on all processes, where `real` is not None."""
    each: float = 1.0
    """How many rows of the mean over all processes a row stands for: draws with replacement repeat rows."""
    rows: Int[Tensor, " k"] | None = None
    """Positions of the rows in their batch. None: all rows."""
    reference: Outputs | None = None
    """What the reference model gave for the rows, until the model's own losses are there."""
    tokens: Bool[Tensor, "k t"] | None = None
    """The tokens that carry a loss, once they are chosen."""
    evaluated: bool = False
    """Whether the losses were given at least once."""

    @property
    def divisor(self) -> float:
        """What the weight of a row is divided by in its factor of the mean over rows."""
        if self.real is None:
            return len(self.ids)
        return self.total / (collectives.world() * self.each)


@dataclass(slots=True)
class Made:
    """A step: its batch, and the rows that were chosen from it."""

    ids: Int[Tensor, " b"]
    data: Any
    """The batch's data, if its ids do not name samples; else None."""
    version: int
    """Version of the tensor of ids. A loop may write the next batch into the same tensor."""
    chosen: Chosen | None = None
    """None until the step has chosen its rows."""
    rows: int = 0
    """Number of rows of the batch on this process, without padding."""

    def charge_again(self, ledger: Ledger, position: Position, filled: bool) -> None:
        """Charge another forward of the rows. Ordinary training would run it too.

        `filled`: the loader fills the batches with accepted rows, and looked at more of them.
        """
        chosen = self.chosen
        if chosen is None:
            return
        came = round(self.rows * position.done / max(1, position.samples)) if filled else self.rows
        trained = len(chosen.ids) if chosen.real is None else min(chosen.real, len(chosen.ids))
        ledger.again(trained, position.ordinary(came), torch.is_grad_enabled())
        chosen.evaluated = False


class Steps:
    """The last steps of the open epoch.

    An epoch has every sample once, so a batch with the ids of an earlier one is that batch. It is found by
    its tensor of ids. If the tensor is a new one (moved to the device once more), its ids are compared, but
    only if the loader yielded no batch since the last step: the ordinary loop compares nothing.
    """

    def __init__(self) -> None:
        self._made: dict[int, Made] = {}
        self._last: Made | None = None
        self._loader_yielded = False

    def forget(self) -> None:
        """Forget all steps, because an epoch begins or begins again."""
        self._made, self._last, self._loader_yielded = {}, None, False

    def came(self) -> None:
        """Note that the loader yielded a batch."""
        self._loader_yielded = True
        if self._last is not None and self._last.chosen is not None and self._last.chosen.evaluated:
            self._last = None

    @property
    def evaluated(self) -> Made | None:
        """The last step, if it got its losses and no new batch came: its losses may be evaluated again."""
        last = self._last
        return last if last is not None and last.chosen is not None and last.chosen.evaluated else None

    def find_or_add(self, ids: Int[Tensor, " b"], data: Any, by_ids: bool, metered: bool) -> Made:
        """The step of this batch: an earlier one, or a new one that has chosen nothing yet.

        Args:
            ids: of the batch.
            data: of the batch.
            by_ids: whether ids name samples. If not, only the same ids with the same data are the same batch.
            metered: whether the epoch's batches come from a loader that reports each of them.
        """
        version = 0 if ids.is_inference() else ids._version
        made = self._made.get(id(ids))
        if made is not None and made.ids is ids and made.version == version:
            if not (len(ids) and (by_ids or made.data is data)):
                made = None
        # Comparing waits for an accelerator. A loop without our loader would wait in every step.
        elif self._loader_yielded or not (self._made and by_ids and len(ids) and (metered or ids.is_cpu)):
            made = None
        else:
            made = self._with_ids(ids, metered)
        if made is None:
            made = Made(ids, None if by_ids else data, version)
            self._made.pop(id(ids), None)  # the dict has the order of the steps
            if len(self._made) >= _REMEMBERED:
                del self._made[next(iter(self._made))]
            self._made[id(ids)] = made
            self._loader_yielded = False
        self._last = made
        return made

    def _with_ids(self, ids: Int[Tensor, " b"], metered: bool) -> Made | None:
        """The latest step with equal ids. Without a metered loader only the last step is compared."""
        for one in reversed(self._made.values()):
            if one.chosen is None:  # its batch was refused, so it is no step
                continue
            same = len(one.ids) == len(ids) and one.ids.device == ids.device
            if same and one.version == _version(one.ids) and torch.equal(one.ids, ids):
                return one
            if not metered:
                break
        return None


def _version(ids: Tensor) -> int:
    return 0 if ids.is_inference() else ids._version
