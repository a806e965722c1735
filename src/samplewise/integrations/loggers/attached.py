"""`attach`: loggers hear of every epoch of a selector, whichever loop trains."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from samplewise.checks import warn
from samplewise.distributed import collectives
from samplewise.integrations.loggers.values import epoch_values
from samplewise.selector import Selector

__all__ = ["Attached", "EpochLogger", "attach"]


@runtime_checkable
class EpochLogger(Protocol):
    """What writes the numbers of epochs somewhere. Any object with these two methods is one.

    After a resume an epoch may come again: a logger then replaces it, or leaves it as it is, so that its log
    has every epoch once.
    """

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the numbers of an epoch that has closed. `epoch` counts from 0."""

    def close(self) -> None:
        """Finish writing. Nothing is logged after it. It may be called again."""


class Attached:
    """Loggers of a selector. Leaving it as a context, or `close`, ends them. The last epoch does, too.

    Args:
        selector: whose epochs are logged.
        loggers: that are told of them.
    """

    def __init__(self, selector: Selector, loggers: tuple[EpochLogger, ...]) -> None:
        self.selector, self.loggers = selector, list(loggers)
        selector.timeline.closed.added.append(self._ended)

    def close(self) -> None:
        """Close all loggers, and log no further epoch."""
        told = self.selector.timeline.closed.added
        if self._ended in told:
            told.remove(self._ended)
        while self.loggers:
            self._safely(self.loggers.pop(), "close")

    def __enter__(self) -> "Attached":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ended(self, epoch: int) -> None:
        """Give the numbers of an epoch to every logger. Only the first process writes."""
        if collectives.rank():
            return
        values = epoch_values(self.selector)
        for logger in tuple(self.loggers):
            if not self._safely(logger, "log", epoch, values):
                self.loggers.remove(logger)
        if epoch == self.selector.epochs - 1:
            self.close()

    @staticmethod
    def _safely(logger: EpochLogger, what: str, *given: object) -> bool:
        """Call a logger. An error becomes a warning: a full disk must not end a training."""
        try:
            getattr(logger, what)(*given)
        except Exception as error:
            name = type(logger).__name__
            warn(
                f"{name}.{what} raised {type(error).__name__}: {error!s:.300}. Training continues without "
                "this logger."
            )
            return False
        return True


def attach(selector: Selector, *loggers: EpochLogger) -> Attached:
    """Log every epoch of a selector from now on.

    It works in a plain loop, with Accelerate, in a Lightning Trainer and with the engine alone: wherever an
    epoch closes. A Hugging Face Trainer makes a selector in each `train()`: give the loggers to
    `make_selective(..., loggers=...)`. With several processes only the first one writes. A logger that raises
    an error is left out with a warning, and training continues.

    To continue a log after a resume, load the state of the selector first, then attach the same loggers.

    Args:
        selector: whose epochs are logged.
        loggers: such as `CsvLogger("log.csv")`, or your own objects with `log` and `close`.

    Raises:
        TypeError: for an object that is no logger.
    """
    for logger in loggers:
        if isinstance(logger, type) or not isinstance(logger, EpochLogger):
            raise TypeError(
                f"attach takes loggers with the methods log and close, got {logger!r:.100}. Give an "
                "instance, such as CsvLogger('log.csv')."
            )
    return Attached(selector, loggers)
