"""Counting the FLOPs of the model's forward, during its first training forward."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["CountNext", "counted", "get_ready"]

T = TypeVar("T")


def counted(work: Callable[[], T]) -> tuple[T, int]:
    """Run `work` and return its result and the FLOPs of its matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        done = work()
    return done, counter.get_total_flops()


@cache
def get_ready() -> None:
    """Warm-up: the first FLOP count imports sympy, which takes a second. A second call does nothing."""
    counted(lambda: torch.ones(1, 1) @ torch.ones(1, 1))


class CountNext:
    """Counts the FLOPs of the next forward of a model and passes the number to `tell`.

    The hooks are bound methods, so a deep copy of the model also copies this object.
    """

    def __init__(self, model: nn.Module, tell: Callable[[int], None]) -> None:
        self._tell, self._counter = tell, FlopCounterMode(display=False)
        self._hooks: list[Any] = [
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._after, always_call=True),
        ]

    def release(self) -> None:
        """Remove the hooks."""
        while self._hooks:
            self._hooks.pop().remove()

    def _before(self, module: nn.Module, inputs: Any) -> None:
        self._counter.__enter__()  # type: ignore[no-untyped-call]  # torch does not annotate it

    def _after(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._counter.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self.release()
        if outputs is not None:  # None if the forward raised
            self._tell(self._counter.get_total_flops())

    def __getstate__(self) -> dict[str, Any]:
        return {"_tell": self._tell, "_hooks": self._hooks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _counter=FlopCounterMode(display=False))
