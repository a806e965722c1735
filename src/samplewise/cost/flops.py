"""How many FLOPs the user's forward takes, measured in passing on the first forward that trains."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["CountNext", "counted", "get_ready"]

T = TypeVar("T")


def counted(work: Callable[[], T]) -> tuple[T, int]:
    """What `work` returns, and the FLOPs of its matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        done = work()
    return done, counter.get_total_flops()


def get_ready() -> None:
    """Count once for nothing: the first time torch loads symbolic algebra for it, which takes seconds."""
    counted(lambda: torch.ones(1, 1) @ torch.ones(1, 1))


class CountNext:
    """Tells the FLOPs of the model's next forward, whoever runs it.

    Its hooks are its own methods, so that a copy of the model comes with a copy of it.
    """

    def __init__(self, model: nn.Module, tell: Callable[[int], None]) -> None:
        self._tell, self._counter = tell, FlopCounterMode(display=False)
        self._hooks: list[Any] = [
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._after, always_call=True),
        ]

    def release(self) -> None:
        """Take it back."""
        while self._hooks:
            self._hooks.pop().remove()

    def _before(self, module: nn.Module, inputs: Any) -> None:
        self._counter.__enter__()  # type: ignore[no-untyped-call]  # torch does not annotate it

    def _after(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._counter.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self.release()
        if outputs is not None:  # a forward that raised counts for nothing
            self._tell(self._counter.get_total_flops())

    def __getstate__(self) -> dict[str, Any]:
        return {"_tell": self._tell, "_hooks": self._hooks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _counter=FlopCounterMode(display=False))
