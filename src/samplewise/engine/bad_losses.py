"""Losses that a method cannot use: refused at once, or kept until every process can stop with them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise import signals
from samplewise.data.ids import few
from samplewise.data.outputs import Outputs
from samplewise.distributed import collectives

__all__ = ["BadLosses", "in_float32"]

Ids = Int[Tensor, " b"]


class BadLosses:
    """Losses that are not finite, or below 0 where the method needs losses >= 0.

    One process on a CPU stops at once: `refuse`. A check on an accelerator would wait for it, and several
    processes must stop together. There bad rows are not written, and the error comes with the next merge or
    at the end of the epoch: `flag`, `set_aside`.

    Args:
        method: the method's name, for errors.
        nonnegative: whether losses must be >= 0.
    """

    def __init__(self, method: str, nonnegative: bool) -> None:
        self.method, self.nonnegative = method, nonnegative
        self.wanted = "finite and >= 0" if nonnegative else "finite"
        self._flagged: Tensor | None = None
        """Number of bad losses on an accelerator."""
        self._first: tuple[Ids, int] | None = None
        """The ids of the first bad batch on a CPU, and the number of the batch."""
        self.batches = 0
        """Number of batches observed while several processes train."""

    def good(self, loss: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Which losses are not bad."""
        good = torch.isfinite(loss)
        return good & (loss >= 0) if self.nonnegative else good

    def refuse(self, ids: Ids, loss: Float[Tensor, " b"], epoch: int) -> None:
        """Raise if a loss is bad."""
        if len(bad := ids[~torch.isfinite(loss)]):
            raise ValueError(f"loss is not finite for ids {few(bad)} in epoch {epoch}. Did training diverge?")
        if self.nonnegative and (loss < 0).any():
            raise ValueError(
                f"{self.method} needs losses >= 0, but the loss is negative for ids "
                f"{few(ids[loss < 0])} in epoch {epoch}. Use another loss or another method."
            )

    def refuse_values(
        self, ids: Ids, values: Mapping[str, Tensor], epoch: int, nonnegative: bool | None = None
    ) -> None:
        """Raise if a signal that is made of more than the loss is bad.

        Args:
            ids: of the rows.
            values: signals by name.
            epoch: for the error.
            nonnegative: whether they must be >= 0; None: as losses.
        """
        nonnegative = self.nonnegative if nonnegative is None else nonnegative
        for name, value in values.items():
            if name == "loss" or not value.is_floating_point():
                continue
            if not math.isfinite(value.sum().item()) and not (usable := _usable(name, value)).all():
                bad = ids[~usable.reshape(len(ids), -1).all(1)]
                raise ValueError(
                    f"{name} is not finite for ids {few(bad)} in epoch {epoch}. Did training diverge?"
                )
            if nonnegative and (value < 0).any():
                bad = ids[(value < 0).reshape(len(ids), -1).any(1)]
                raise ValueError(
                    f"{self.method} draws in proportion to {name}, but it is negative for ids {few(bad)} in "
                    f"epoch {epoch}. Use a signal that is never negative."
                )

    def flag(self, loss: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Count the bad losses of a batch on an accelerator without waiting for it; returns the good rows."""
        good = self.good(loss)
        count = (~good).sum()
        self._flagged = count if self._flagged is None else self._flagged + count
        return good

    def set_aside(self, ids: Ids, loss: Float[Tensor, " b"]) -> Bool[Tensor, " b"] | None:
        """Keep the ids of the first bad batch for `fail_together`. Return the good rows; None: all."""
        good = self.good(loss)
        if good.all():
            return None
        if self._first is None:
            self._first = ids[~good], self.batches
        return good

    @property
    def waiting(self) -> bool:
        """Whether there are bad ids that the other processes do not know yet."""
        return self._first is not None

    def raise_flagged(self, epoch: int) -> None:
        """Raise for bad losses on an accelerator. It waits for that, so call it only when an epoch ends."""
        if self._flagged is not None and (count := int(self._flagged)):
            self._flagged = None
            raise ValueError(
                f"loss was not {self.wanted} for {count} samples in epoch {epoch}. Did training diverge?"
            )

    def fail_together(self, epoch: int) -> None:
        """Raise in every process for the bad losses of any. Every process must call it."""
        bad, batch = self._first or (torch.empty(0, dtype=torch.int64), 0)
        count = len(bad) + (0 if self._flagged is None else int(self._flagged))
        if collectives.largest(count):
            self._fail(bad, batch, epoch)

    def _fail(self, bad: Ids, batch: int, epoch: int) -> NoReturn:
        ids, (batches,) = collectives.gather(bad, [torch.full_like(bad, batch)])
        if len(ids):  # name the first bad batch only: later ones may follow from it
            ids = ids[batches == batches.min()]
        self.clear()
        who = f"ids {few(ids)}" if len(ids) else "some samples"
        raise ValueError(f"loss is not {self.wanted} for {who} in epoch {epoch}. Did training diverge?")

    def clear(self) -> None:
        """Forget the bad losses so far."""
        self._first, self._flagged = None, None


def in_float32(ids: Ids, outputs: Outputs, epoch: int, refuse: bool) -> Outputs:
    """The same outputs with float64 losses in float32, as they are remembered.

    Args:
        ids: the samples, for the error.
        outputs: the results of the forward.
        epoch: for the error.
        refuse: whether to raise for losses that are too large for float32.
    """
    loss = outputs.loss.detach()
    single = loss.float()
    if refuse and len(large := ids[single.isinf() & loss.isfinite()]):
        raise ValueError(
            f"loss is too large for ids {few(large)} in epoch {epoch}: it is remembered in "
            "float32, so it must be at most 3.4e38. Did training diverge?"
        )
    return replace(outputs, loss=single)


def _usable(name: str, value: Tensor) -> Tensor:
    """Which numbers of a signal may be remembered."""
    return ~torch.isnan(value) if name in signals.MAY_BE_INFINITE else torch.isfinite(value)
