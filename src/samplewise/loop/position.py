"""`Position`: the progress in the open epoch, how its order is dealt to processes, and what was charged."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.cost.ledger import Ledger
from samplewise.distributed import collectives
from samplewise.distributed.shares import RealRows, real_rows, rows_of
from samplewise.engine.engine import Engine
from samplewise.loop.helpers import TokenCounts
from samplewise.loop.ids import Ids, shuffled
from samplewise.rng import generator

__all__ = ["Position"]


class Position:
    """Counts of the open epoch on one rank. Steps write them. `Timeline` resets and charges them.

    Args:
        engine: whose epochs are counted.
        ledger: gets the counts, at the latest when an epoch closes.
        loads: whether there is a data set, so that samples come from a plan.
        batch_size: of one process, if known.
    """

    def __init__(self, engine: Engine, ledger: Ledger, loads: bool, batch_size: int | None) -> None:
        self.engine, self.ledger, self.loads, self.batch_size = engine, ledger, loads, batch_size
        self.sharded = True
        """True: our sampler deals the order to the processes. False: a framework does."""
        self.drop_last = False
        """Whether a last batch that is not full is left out."""
        self.cut: Callable[[Int[Tensor, " k"]], list[int]] | None = None
        """Cuts an order of ids into batches, and returns the end of each. None: every `batch_size` ids."""
        self._ends: list[int] | None = None
        self.batches = 0
        """Steps that were made."""
        self.samples = 0
        """Rows of this process that came to steps."""
        self.done = 0
        """Number of leading ids of the order that all processes trained on, or scored to fill batches."""
        self.rows_returned = 0
        """Rows of the batches after which the loop asked the loader for the next one."""
        self.order_read = False
        """Whether a sampler gave out the epoch's order."""
        self.from_loader = False
        """Whether the batches come through `Timeline.meter`."""
        self.method_called = False
        """Whether the loop ever called loss, narrow, observe or choose."""
        self.rows_charged = 0
        """Rows of the open epoch that are in the ledger as trained."""
        self.tokens: TokenCounts | None = None
        """Counts the tokens of steps."""
        self.ordinary_before = 0.0
        """Rows that ordinary training back-propagated in the closed epochs."""

    def reset(self) -> None:
        """Reset the counts, because an epoch opens or begins again."""
        self.batches = self.samples = self.done = self.rows_returned = self.rows_charged = 0
        self.order_read, self._ends = False, None

    @property
    def rows_arrived(self) -> int:
        """Rows of the open epoch that this process received, in its steps or in a loop without steps."""
        return self.samples or self.rows_returned

    # ---------------------------------------------------------------------- order and batches

    def order(self) -> Ids:
        """The open epoch's samples in the order of training: shuffled by (seed, epoch) alone."""
        engine = self.engine
        return shuffled(engine.last_plan, generator(engine.seed, engine.epoch, "order"))

    @property
    def ends(self) -> list[int] | None:
        """The end of each batch in the open epoch's order, if `cut` makes the batches."""
        if self.cut is not None and self._ends is None:
            self._ends = self.cut(torch.cat([*self.order().split(1 << 20)]))
        return self._ends

    def next_step(self, done: int, b: int) -> tuple[RealRows | None, int]:
        """This process's part of the step after the first `done` ids of the order, and the end of that step.

        The part is None if every process has b real rows. If `cut` makes the batches, a step takes one for
        each process, in the order of ranks. A process for which none is left has no real row.

        Args:
            done: ids of the order before the step.
            b: the rows that came to this process.
        """
        rank, world, ends = self.engine.memory.rank, collectives.world(), self.ends
        if ends is not None:
            first = bisect_right(ends, done)
            end = ends[min(first + world, len(ends)) - 1]
            return RealRows(b if first + rank < len(ends) else 0, end - done), end
        end = done + b * world
        if not self.loads:
            return None, end
        size = b if self.sharded or self.batch_size is None else self.batch_size
        real = real_rows(len(self.engine.last_plan) - done, size, rank, world, self.sharded)
        return None if real is None else RealRows(min(real.mine, b), real.total), end

    def rows_of(self, size: int) -> int:
        """Rows that this process trains on in an epoch of `size` samples, dealt like the open epoch."""
        world, covers = collectives.world(), self.engine.covers(self.engine.epoch)
        b = self.batch_size or max(1, size // world)
        return rows_of(size, b, collectives.rank(), world, self.sharded, covers, self.drop_last)

    def ordinary(self, rows: int) -> float:
        """Rows of ordinary training at the point where the open epoch has trained on `rows`."""
        n = self.engine.n
        if not n:
            return rows
        if self.cut is not None:  # nobody knows how n samples would be cut
            return rows * n / len(self.engine.last_plan)
        planned = self.rows_of(len(self.engine.last_plan))
        return self.rows_of(n) * (rows / planned) if planned else 0.0

    # ------------------------------------------------------------------------------- ledger

    def charge(self, closing: bool = False) -> None:
        """Add the open epoch's rows to the ledger, from the plan or from the counts."""
        ledger, engine = self.ledger, self.engine
        ledger.assistant_flops += engine.spent()
        if self.tokens is not None:
            self.tokens.charge()
        if not engine.opened:
            return
        rows = came = self.rows_arrived
        if closing and not came and (not self.loads or self.order_read) and not engine.narrows:
            rows = came = self.rows_of(len(engine.last_plan))  # another loop trained on them
        if engine.policy.assemble and engine.narrows:
            came = self.done
        # A step charges the batch that it narrows. A loop without steps trains on all rows.
        if engine.narrows and self.samples:
            rows = 0
        ledger.trained(rows - self.rows_charged)
        self.rows_charged = rows
        ledger.ordinary_samples = self.ordinary_before + self.ordinary(came)
        if closing:
            self.ordinary_before = ledger.ordinary_samples

    # -------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "done": self.done,
            "drop_last": self.drop_last,
            "batches": self.batches,
            "samples": self.samples,
            "arrivals": {
                "gone": self.rows_returned,
                "trained": self.rows_charged,
                "before": self.ordinary_before,
                "drawn": self.order_read,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, maybe by another number of processes."""
        self.done, self.drop_last = state["done"], state["drop_last"]
        self.batches, self.samples = state["batches"], state["samples"]
        counts = state["arrivals"]
        self.rows_returned, self.rows_charged, self.ordinary_before = (
            counts["gone"],
            counts["trained"],
            counts["before"],
        )
        self.order_read, self.from_loader, self.method_called = counts["drawn"], False, True
        if (world := collectives.world()) != state["world"]:
            factor = state["world"] / world
            self.rows_returned, self.rows_charged = (
                round(self.rows_returned * factor),
                round(self.rows_charged * factor),
            )
            self.ordinary_before *= factor
            self.samples = self.done // world
        self._ends = None
        if self.engine.opened and (ends := self.ends) is not None:
            self.batches = -(-bisect_right(ends, self.done) // world)
        elif self.batch_size is not None:  # which may have changed
            self.batches = -(-self.samples // self.batch_size)
