"""How many FLOPs the user's forward takes, measured in passing on the first forward that trains."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_next", "counted", "get_ready"]

T = TypeVar("T")


def counted(work: Callable[[], T]) -> tuple[T, int]:
    """What `work` returns, and the FLOPs of its matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        done = work()
    return done, counter.get_total_flops()


def get_ready() -> None:
    """Count once for nothing: the first time torch loads symbolic algebra for it, which takes seconds."""
    counted(lambda: torch.ones(1, 1) @ torch.ones(1, 1))


def count_next(model: nn.Module, tell: Callable[[int], None]) -> Callable[[], None]:
    """Tell the FLOPs of the model's next forward, whoever runs it; returns what takes that back."""
    counter = FlopCounterMode(display=False)
    hooks: list[Any] = []

    def release() -> None:
        while hooks:
            hooks.pop().remove()

    def before(module: nn.Module, inputs: Any) -> None:
        counter.__enter__()  # type: ignore[no-untyped-call]  # torch does not annotate it

    def after(module: nn.Module, inputs: Any, outputs: Any) -> None:
        counter.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        release()
        if outputs is not None:  # a forward that raised counts for nothing
            tell(counter.get_total_flops())

    hooks.append(model.register_forward_pre_hook(before))
    hooks.append(model.register_forward_hook(after, always_call=True))
    return release
