"""`ScoringForward`: what runs when a batch is scored, and what that costs."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from samplewise.cost.flops import counted
from samplewise.cost.ledger import Ledger
from samplewise.data.declared import Form
from samplewise.data.outputs import Batch, walk

__all__ = ["ScoringForward"]


class ScoringForward:
    """The user's forward of a whole batch. A cheaper scoring forward is a subclass.

    A cheap scoring forward is charged by its FLOPs. They are counted at the first batch of each shape.

    Args:
        ledger: is charged.
    """

    cheap = False
    """Whether the ledger is charged by FLOPs, in place of one forward for each row."""
    model: nn.Module | None = None
    """The module that scores; None: the user's model. Callers set its mode, and restore it after."""
    learns = False
    """Whether `trains` must be called."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._flops: dict[tuple[Any, ...], int] = {}

    def seen(self, data: Any, b: int) -> Any:
        """What scores see of the data of a batch of b rows."""
        return data

    def run(self, forward: Callable[[Any], Any], batch: Batch) -> Any:
        """What the scoring forward of a batch returns: losses (b,) or `Outputs`.

        Args:
            forward: the user's.
            batch: with the data as `seen` gives them.
        """
        return forward(batch.data)

    def __call__(self, forward: Callable[[Any], Any], batch: Batch) -> Any:
        """`run` on what scores see of a batch; charged to the ledger if it is cheap."""
        shown = Batch(batch.ids, self.seen(batch.data, len(batch)))
        return self.charged("run", shown, lambda: self.run(forward, shown))

    def charged(self, what: str, batch: Batch, work: Callable[[], Any]) -> Any:
        """Do work on a batch. If the scoring forward is cheap, charge the FLOPs; else the caller charges.

        Args:
            what: kind of the work: it has the same FLOPs for all batches of one shape.
            batch: with the data as `seen` gives them.
            work: is called once.
        """
        if not self.cheap:
            return work()
        key = (what, len(batch), *_shapes(batch.data))
        if (flops := self._flops.get(key)) is None:
            done, flops = counted(work)
            self._flops[key] = flops
        else:
            done = work()
        self.ledger.scored_cheaply(len(batch), flops)
        return done

    def trains(self, batch: Batch, real: int | None) -> None:
        """Note that the next training forward is of this batch.

        Args:
            batch: the rows that train.
            real: number of leading rows that are not padding; None: all.
        """

    # ----------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """What a training must save of this: tensors and plain values; empty if nothing."""
        return {}

    def forms(self) -> Mapping[str, Form]:
        """The form of each entry of `state_dict`."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""


def _shapes(data: Any) -> list[tuple[int, ...]]:
    """The shapes of the tensors of a batch."""
    found: list[tuple[int, ...]] = []

    def note(leaf: Any, path: str) -> Any:
        if isinstance(leaf, Tensor):
            found.append(tuple(leaf.shape))
        return leaf

    walk(data, note)
    return found
