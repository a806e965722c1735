"""`Position`: how far the open epoch is, how its order is dealt to the processes, and what the ledger has."""

from typing import Any

from samplewise.cost.ledger import Ledger
from samplewise.distributed import collectives
from samplewise.distributed.shares import Share, rows_of, share_of
from samplewise.engine.engine import Engine

__all__ = ["Position"]


class Position:
    """Counts of the open epoch on one rank. Steps write them, `Epochs` resets and enters them.

    Args:
        engine: whose epochs are counted.
        ledger: gets the counts, at the latest when an epoch closes.
        loads: whether there is a data set, so that samples come from a plan.
        batch_size: of one process, if known.
    """

    def __init__(self, engine: Engine, ledger: Ledger, loads: bool, batch_size: int | None) -> None:
        self.engine, self.ledger, self.loads, self.batch_size = engine, ledger, loads, batch_size
        self.sharded = True
        """Whether our own sampler deals the order to the processes, or a framework does."""
        self.drop_last = False
        """Whether a last batch that is not full is left out."""
        self.batches = 0
        """Steps that were made."""
        self.samples = 0
        """Rows of this process that came to steps."""
        self.done = 0
        """Number of ids of the order, from the front, that all processes have trained on."""
        self.gone = 0
        """Rows of the batches that the loop took from the loader and came back from."""
        self.drawn = False
        """Whether a sampler gave out the epoch's order."""
        self.metered = False
        """Whether the batches come through `Epochs.meter`."""
        self.heard = False
        """Whether the loop ever called what acts on a batch: loss, narrow, observe or choose."""
        self.entered = 0
        """Rows of the open epoch that the ledger has as trained."""
        self.before = 0.0
        """Rows that ordinary training back-propagated in the closed epochs."""

    def reset(self) -> None:
        """A new epoch opens, or the open one begins again."""
        self.batches = self.samples = self.done = self.gone = self.entered = 0
        self.drawn = False

    @property
    def came(self) -> int:
        """Rows of the open epoch that came to this process: to its steps, or to a loop without steps."""
        return self.samples or self.gone

    # ------------------------------------------------------------------------------ shares

    def share(self, b: int) -> Share | None:
        """This process's part of a step whose last rows are padding; None if no row is padding."""
        if not self.loads:
            return None
        left = len(self.engine.last_plan) - self.done
        size = b if self.sharded or self.batch_size is None else self.batch_size
        share = share_of(left, size, self.engine.memory.rank, collectives.world(), self.sharded)
        return None if share is None else Share(min(share.mine, b), share.total)

    def rows_of(self, size: int) -> int:
        """Rows that this process trains on in an epoch of `size` samples, dealt as the open one."""
        world, covers = collectives.world(), self.engine.covers(self.engine.epoch)
        b = self.batch_size or max(1, size // world)
        return rows_of(size, b, collectives.rank(), world, self.sharded, covers, self.drop_last)

    def ordinary(self, rows: int) -> float:
        """Rows of ordinary training's epoch at the same point, for `rows` of the open epoch."""
        n = self.engine.n
        if not n:
            return rows
        planned = self.rows_of(len(self.engine.last_plan))
        return self.rows_of(n) * (rows / planned) if planned else 0.0

    # ------------------------------------------------------------------------------ account

    def charge(self, closing: bool = False) -> None:
        """Enter the open epoch's rows into the ledger, from the plan or from the counts."""
        ledger, engine = self.ledger, self.engine
        ledger.assistant_flops += engine.spent()
        if not engine.opened:
            return
        rows = came = self.came
        if closing and not came and (not self.loads or self.drawn) and not engine.narrows:
            rows = came = self.rows_of(len(engine.last_plan))  # another loop trained on them
        if engine.policy.assemble and engine.narrows:
            came = self.done
        # A step enters the batch that it narrows. A loop without steps trains on all rows.
        if engine.narrows and self.samples:
            rows = 0
        ledger.trained(rows - self.entered)
        self.entered = rows
        ledger.ordinary_samples = self.before + self.ordinary(came)
        if closing:
            self.before = ledger.ordinary_samples

    # -------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "done": self.done,
            "drop_last": self.drop_last,
            "batches": self.batches,
            "samples": self.samples,
            "arrivals": {
                "gone": self.gone,
                "trained": self.entered,
                "before": self.before,
                "drawn": self.drawn,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken, maybe by another number of processes."""
        self.done, self.drop_last = state["done"], state["drop_last"]
        self.batches, self.samples = state["batches"], state["samples"]
        counts = state["arrivals"]
        self.gone, self.entered, self.before = counts["gone"], counts["trained"], counts["before"]
        self.drawn, self.metered, self.heard = counts["drawn"], False, True
        if (world := collectives.world()) != state["world"]:
            factor = state["world"] / world
            self.gone, self.entered = round(self.gone * factor), round(self.entered * factor)
            self.before *= factor
            self.samples = self.done // world
        if self.batch_size is not None:  # which may have changed
            self.batches = -(-self.samples // self.batch_size)
