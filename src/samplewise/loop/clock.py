"""`Clock`: the seconds that a loop waits for its batches, and the seconds that it works on them."""

import time

from samplewise.cost.ledger import Ledger
from samplewise.engine.engine import Engine
from samplewise.loop.position import Position

__all__ = ["Clock"]


class Clock:
    """Times one batch after the other, and adds the seconds to the ledger."""

    def __init__(self, engine: Engine, ledger: Ledger, position: Position) -> None:
        self.engine, self.ledger, self.position = engine, ledger, position
        self._running: tuple[float, float, float, int, bool] | None = None

    def aside(self) -> float:
        """Seconds of scoring and selecting so far, which are neither waiting nor training."""
        return self.ledger.seconds["scoring"] + self.ledger.seconds["selecting"]

    def begin(self, asked: float) -> None:
        """A batch came that the loop asked for at the time `asked`, by `time.perf_counter`."""
        got = time.perf_counter()
        self.ledger.seconds["data"] += got - asked
        self._running = got, got - asked, self.aside(), self.position.rows_arrived, self.engine.narrows

    def end(self) -> None:
        """The work on the batch is done; a second call does nothing."""
        if self._running is None:
            return
        (got, waited, aside, samples, narrowed), self._running = self._running, None
        work = time.perf_counter() - got - (self.aside() - aside)
        self.ledger.seconds["training"] += work
        if not narrowed and not self.ledger.proxy:  # ordinary training has no proxy
            self.ledger.plain_seconds += waited + work
            self.ledger.plain_samples += self.position.rows_arrived - samples

    def forget(self) -> None:
        """No batch is being worked on."""
        self._running = None
