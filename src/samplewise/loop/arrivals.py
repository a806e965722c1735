"""What came of the open epoch, and what of it the ledger has: rows trained, and ordinary training's."""

from dataclasses import dataclass
from typing import Any

from samplewise.cost.ledger import Ledger

__all__ = ["Arrivals"]


@dataclass
class Arrivals:
    """Counts of rows on one rank. Ordinary training is counted up to the point where this run is."""

    gone: int = 0
    """Rows of the batches that the loop took from the loader and came back from."""
    trained: int = 0
    """Rows of the open epoch that the ledger has as trained."""
    before: float = 0.0
    """Rows that ordinary training back-propagated in the epochs that are closed."""
    drawn: bool = False
    """Whether the epoch's order was given out by a sampler."""

    def open(self) -> None:
        """A new epoch begins, or the open one begins again."""
        self.gone, self.trained, self.drawn = 0, 0, False

    def enter_trained(self, ledger: Ledger, rows: int) -> None:
        """Let the ledger have so many rows of the open epoch as trained."""
        ledger.trained(rows - self.trained)
        self.trained = rows

    def enter_ordinary(self, ledger: Ledger, rows: float, closing: bool) -> None:
        """Let the ledger have so many rows of ordinary training's in the open epoch."""
        ledger.ordinary_samples = self.before + rows
        if closing:
            self.before = ledger.ordinary_samples

    def rescale(self, factor: float) -> None:
        """Take over what one rank counted of a run that goes on with another number of ranks."""
        self.gone, self.trained = round(self.gone * factor), round(self.trained * factor)
        self.before *= factor

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        vars(self).update(state)
