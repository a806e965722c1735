"""The memory: what was seen of every sample, checked on the way in, shared between processes."""

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise import signals
from samplewise.data.ids import few, refuse_outside, refuse_targets, whole
from samplewise.data.outputs import Outputs
from samplewise.distributed import collectives
from samplewise.policy import Policy
from samplewise.signals import measure
from samplewise.trackers import Tracker

__all__ = ["Memory"]

Ids = Int[Tensor, " b"]

_AT_ONCE = 1 << 21
"""Numbers that a process sends at once: 16 MB."""


class Memory:
    """The tracker's columns of n samples and the counts of selections, on the device of the losses."""

    def __init__(self, policy: Policy, n: int, epochs: int) -> None:
        self.policy, self.n, self.epochs = policy, n, epochs
        self._sized = policy.sized(n)
        self.epoch, self.opened = 0, False
        self.memory: dict[str, Tensor] = {}
        self.times_selected = torch.zeros(n, dtype=torch.int32)
        self._sources = policy.source.split("+")
        self._only_loss = policy.signals == (signals.loss,)  # by far the most common: no detours
        self._classed = "targets" in policy.reads
        self._looked_at = False
        self.inside: Tensor | None = None
        """The ids last seen to lie inside the data set, or taken from the plan: not checked again."""
        self._device, self._on_cpu = torch.device("cpu"), True
        self._nonnegative = policy.nonnegative
        self._passed: Tensor | None = None
        self._failed: Tensor | None = None
        self._bad: tuple[Tensor, int] | None = None
        self._looks = 0
        self._touched: list[Tensor] = []
        self.passing: Tensor | None = None
        self.everyones: list[dict[str, Any]] = []
        """What each of several processes kept for itself when they merged last."""
        self.rank, self._together, self._counted = 0, False, self.times_selected
        self.meet()
        self._resolved: tuple[int, Policy] = (-1, policy)

    def now(self, epoch: int) -> Policy:
        """The policy with its numbers of an epoch; the last one asked for is kept."""
        epoch = min(epoch, self.epochs - 1)
        if self._resolved[0] != epoch:
            self._resolved = epoch, self._sized.at(epoch, self.epochs)
        return self._resolved[1]

    def tracker(self, epoch: int) -> Tracker | None:
        """The tracker with its numbers of an epoch."""
        return self.now(epoch).tracker

    def meet(self) -> None:
        """Look who trains along: the process group may come up after the Selector was built."""
        self.rank, together = collectives.rank(), collectives.world() > 1
        if together and not self._together:
            self._counted = self.times_selected.clone()
        self._together = together

    def observe(self, ids: Ids, outputs: Outputs, source: str) -> bool:
        """Remember what a forward pass showed of `ids`; False if the policy does not use the source.

        Losses and ids are checked either way: a loss that is not finite never passes in silence. Alone on a
        CPU it is an error at once; on an accelerator, or among several processes, which must stop together,
        its row is not written and the error comes with the next merge.
        """
        if source == "pass":
            self.meet()
        if ids.dtype is not torch.int64:
            ids = whole(ids, "observe")
        loss = outputs.loss.detach()
        if loss.shape != ids.shape:
            raise ValueError(
                f"observe needs one loss for each id, got ids of shape {tuple(ids.shape)} and losses of "
                f"shape {tuple(loss.shape)}."
            )
        if loss.dtype is torch.float64:
            outputs = self._single(ids, outputs)
            loss = outputs.loss
        used, on_cpu, good = self.uses(source), loss.is_cpu, None
        if on_cpu:
            if self._together:
                good = self._set_aside(ids, loss)
            else:
                self._refuse(ids, loss)
        if ids is not self.inside and (on_cpu or ids.is_cpu):  # an accelerator's own are not waited for
            refuse_outside(ids, self.n)
            self.inside = ids
        if source == "training" and not self.opened:
            raise ValueError(f"no epoch is open: call plan({self.epoch}) before observing training.")
        if not on_cpu:
            good = self._flag(loss)
        # Of several processes one with no rows begins its columns too: the next merge needs them on each.
        if not used or not (len(ids) or self._together):
            if self._classed and not self._looked_at and on_cpu:
                # What a later pass could not use is found at the first batch.
                refuse_targets(ids, outputs, self.epoch)
                self._looked_at = True
            return used
        if not (on_cpu and ids.is_cpu):
            ids = ids.to(loss.device, non_blocking=True)
        self.remember(ids, outputs, source, good)
        if source == "pass":
            if self._passed is None:
                self._passed = torch.zeros(self.n, dtype=torch.bool, device=loss.device)
            self._passed[ids] = True
        if self._together and self.n:
            self._touched.append(ids)
        return True

    def _single(self, ids: Ids, outputs: Outputs) -> Outputs:
        """The same with its float64 losses as they are remembered, in float32."""
        loss = outputs.loss.detach()
        single = loss.float()
        if loss.is_cpu and not self._together:
            large = single.isinf() & loss.isfinite()
            if large.any():
                raise ValueError(
                    f"loss is too large for ids {few(ids[large])} in epoch {self.epoch}: it is remembered in "
                    "float32, so it must be at most 3.4e38. Did training diverge?"
                )
        return replace(outputs, loss=single)

    def uses(self, source: str) -> bool:
        """Whether an observation from `source` is to be remembered now."""
        return source in self._sources

    @property
    def uses_training(self) -> bool:
        """Whether an observation from training is remembered in the open epoch."""
        return self.uses("training")

    def remember(self, ids: Ids, outputs: Outputs, source: str, good: Tensor | None) -> None:
        """Signals to the tracker's columns, where the losses are; rows that are not `good` stay."""
        # A pass while an epoch is open is for the next one.
        tracker = self.tracker(self.epoch + (self.opened and source == "pass"))
        if tracker is None:
            return
        loss = outputs.loss
        if loss.requires_grad:
            loss = loss.detach()
        if self._classed and loss.is_cpu:
            refuse_targets(ids, outputs, self.epoch)
        if self._only_loss:
            values = {"loss": loss if loss.dtype == torch.float32 else loss.float()}
        else:
            values = measure(self.policy.signals, outputs, self.policy.name)
            if good is None:
                self._refuse_values(ids, values)
        if not (loss.is_cpu and self._on_cpu) and self._device != loss.device:
            self._move(loss.device)
        if not self.n:  # an endless stream: only the batch that is being chosen from
            self.memory, self.passing = values, ids
            return
        if not self.memory:
            self.memory = tracker.start(self.n, values)
        if good is None:
            tracker.observe(self.memory, ids, values)
            return
        own = {name: self.memory[name] for name in tracker.local}
        columns = [column for name, column in self.memory.items() if column.ndim and name not in own]
        before = [column.index_select(0, ids) for column in columns]
        tracker.observe(self.memory, ids, values)
        for name, entry in own.items():  # of a batch that is not good, nothing
            self.memory[name] = torch.where(good.all(), self.memory[name], entry)
        for column, old in zip(columns, before, strict=True):
            column.index_copy_(0, ids, torch.where(good, column.index_select(0, ids), old))

    def _flag(self, loss: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """On an accelerator nothing waits for a check: which losses are good, the others counted."""
        good = torch.isfinite(loss)
        if self._nonnegative:
            good &= loss >= 0
        count = (~good).sum()
        self._failed = count if self._failed is None else self._failed + count
        return good

    def _set_aside(self, ids: Ids, loss: Float[Tensor, " b"]) -> Bool[Tensor, " b"] | None:
        """Which losses are good, None if all; the first others' ids are kept until processes merge."""
        self._looks += 1
        if math.isfinite(loss.sum().item()) and not (self._nonnegative and len(ids) and loss.amin() < 0):
            return None
        good = torch.isfinite(loss)
        if self._nonnegative:
            good &= loss >= 0
        if self._bad is None:
            self._bad = ids[~good], self._looks
        return good

    def _move(self, device: torch.device) -> None:
        """Memory lives where the losses are."""
        self._device, self._on_cpu = device, device.type == "cpu"
        self.memory = {name: column.to(device) for name, column in self.memory.items()}
        self.times_selected = self.times_selected.to(device)
        if self._passed is not None:
            self._passed = self._passed.to(device)

    def _refuse(self, ids: Ids, loss: Float[Tensor, " b"]) -> None:
        """Raise for losses that cannot be meant."""
        # The sum is finite unless a loss is not (or it overflows): the cheapest look that misses nothing.
        if not math.isfinite(loss.sum().item()) and len(bad := ids[~torch.isfinite(loss)]):
            raise ValueError(f"loss is not finite for ids {few(bad)} in epoch {self.epoch}")
        if self._nonnegative and len(ids) and loss.amin().item() < 0:
            raise ValueError(
                f"{self.policy.name} needs losses >= 0, but the loss is negative for ids "
                f"{few(ids[loss < 0])} in epoch {self.epoch}"
            )

    def _refuse_values(self, ids: Ids, values: dict[str, Tensor]) -> None:
        """As `_refuse`, for signals that are made from more than the loss."""
        for name, value in values.items():
            if name == "loss" or not value.is_floating_point():
                continue
            if not math.isfinite(value.sum().item()) and not (fine := _usable(name, value)).all():
                bad = ids[~fine.reshape(len(ids), -1).all(1)]
                raise ValueError(f"{name} is not finite for ids {few(bad)} in epoch {self.epoch}")
            if self._nonnegative and (value < 0).any():
                raise ValueError(
                    f"{self.policy.name} draws in proportion to {name}, but it is negative for ids "
                    f"{few(ids[(value < 0).reshape(len(ids), -1).any(1)])} in epoch {self.epoch}"
                )

    def raise_if_failed(self) -> None:
        """Raise for what an accelerator recorded; waits for it, so only at the end of an epoch."""
        if self._failed is not None and (count := int(self._failed)):
            self._failed = None
            wanted = "finite and >= 0" if self._nonnegative else "finite"
            raise ValueError(f"loss was not {wanted} for {count} samples in epoch {self.epoch}")

    def fail_together(self) -> None:
        """Raise on every process for losses that one of them could not take. A collective."""
        bad, look = self._bad or (torch.empty(0, dtype=torch.int64), 0)
        count = len(bad) + (0 if self._failed is None else int(self._failed))
        if not collectives.largest(count):
            return
        ids, (looks,) = collectives.gather(bad, [torch.full_like(bad, look)])
        if len(ids):  # what came later may be the consequence of a step with these
            ids = ids[looks == looks.min()]
        self._bad, self._failed = None, None
        wanted = "finite and >= 0" if self._nonnegative else "finite"
        who = f"ids {few(ids)}" if len(ids) else "some samples"
        raise ValueError(f"loss is not {wanted} for {who} in epoch {self.epoch}")

    def _count(self, ids: Ids) -> None:
        """One more selection of each; an id that is there twice counts once."""
        counts = self.times_selected
        if not self.n:
            return
        if self._on_cpu:
            counts.numpy()[(ids if ids.is_cpu else ids.cpu()).numpy()] += 1
        else:
            ids = ids.to(counts.device)
            counts.index_copy_(0, ids, counts.index_select(0, ids) + 1)

    def exchanged(self) -> list[str]:
        """The columns in which processes may differ until they merge."""
        tracker = self.tracker(self.epoch)
        return [] if tracker is None else tracker.exchanged(self.memory)

    def kept_beside(self) -> tuple[str, ...]:
        """The entries of the memory that each process keeps for itself."""
        return () if self.policy.tracker is None else self.policy.tracker.local

    def beside(self) -> dict[str, Any] | None:
        """What this process keeps for itself, on the CPU; None if the method has no such thing."""
        names = self.kept_beside()
        if not names:
            return None
        return {name: self.memory[name].to("cpu", copy=True) for name in names if name in self.memory}

    def take_beside(self, own: dict[str, Any]) -> None:
        """Continue with what a process kept for itself."""
        self.memory |= {name: entry.clone() for name, entry in own.items()}

    def merge(self) -> None:
        """With several processes: take over what the others observed since the last call."""
        if not self._together:
            return
        self.fail_together()
        none = torch.empty(0, dtype=torch.int64, device=self._device)
        touched = torch.unique(torch.cat([*self._touched, none]))
        self._touched = []
        memory = {name: self.memory[name] for name in self.exchanged()}
        width = 1 + sum(math.prod(column.shape[1:]) for column in memory.values())
        rows = max(1, _AT_ONCE // width)
        for piece in range(collectives.largest(-(-len(touched) // rows))):
            # An id that two ranks hold in different pieces is sent again as it was first received.
            ids = touched[piece * rows : (piece + 1) * rows]
            ids, columns = collectives.gather(ids, [column[ids] for column in memory.values()])
            for mine, column in zip(memory.values(), columns, strict=True):
                mine.index_copy_(0, ids, column)
            if self._passed is not None:
                self._passed[ids] = True
        if (own := self.beside()) is not None:
            self.everyones = collectives.everyone(own)
        if self.chooses_in_batches:
            counted = self._counted.to(self.times_selected.device)
            self.times_selected = counted + collectives.add_up(self.times_selected - counted)
            self._counted = self.times_selected.clone()

    @property
    def chooses_in_batches(self) -> bool:
        """Whether the rows of a batch are counted when they are chosen, not when the epoch is planned."""
        return self.policy.batch_picker is not None

    @property
    def together(self) -> bool:
        """Whether other processes train along."""
        return self._together

    @property
    def on_cpu(self) -> bool:
        """Whether the memory is where reading a number waits for nothing."""
        return self._on_cpu

    @property
    def merged(self) -> bool:
        """Whether this process holds nothing that the others have not taken over."""
        if not self._together:
            return True
        chosen = self.chooses_in_batches and not torch.equal(
            self.times_selected, self._counted.to(self.times_selected.device)
        )
        return not (self._touched or self._bad is not None or chosen)


def _usable(name: str, value: Tensor) -> Tensor:
    """Which numbers of a signal may be remembered."""
    return ~torch.isnan(value) if name in signals.MAY_BE_INFINITE else torch.isfinite(value)
