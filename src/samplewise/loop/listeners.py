"""`Listeners`: functions that hear of every epoch that has closed, in any loop."""

from collections.abc import Callable

__all__ = ["Listeners"]


class Listeners:
    """Functions that are called with the number of an epoch when it has closed. A copy has none.

    So a selector can be copied and pickled whatever its loggers hold.
    """

    def __init__(self) -> None:
        self.added: list[Callable[[int], None]] = []

    def __call__(self, epoch: int) -> None:
        for tell in tuple(self.added):  # one may leave while it is called
            tell(epoch)

    def __reduce__(self) -> tuple[type["Listeners"], tuple[()]]:
        return Listeners, ()
