"""Scoring forwards: they give losses, and change neither the model nor the random states."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal

import torch
from torch import nn

from samplewise.checks import Range, checked
from samplewise.data.randomness import lent_to
from samplewise.loop.flags import Flags
from samplewise.loop.scorers import as_scorer

__all__ = ["Scoring", "device_of", "without_trace"]


@checked
@dataclass(frozen=True)
class Scoring:
    """How scores are computed.

    Args:
        mode: `eval` or `train` for the model while it scores. In `train` its buffers are restored after.
        dtype: autocast to this type while scoring, such as `torch.bfloat16`; None: as training does.
        every: at batch level, the scoring forward runs in every k-th active epoch. In the epochs between,
            remembered scores choose, and only the chosen rows are observed.
        view: scores see `view(data)` of a batch, such as `sw.views.half`, in place of all data that forward
            takes. The rows must stay the same. The ledger is charged by counted FLOPs.
        at: the scoring forward ends at this module of the model, named as in `model.named_modules()`. A
            linear head on its mean output gives the losses. It is trained beside the model, on the rows that
            train, and needs the labels of the Selector.
        dataset: the same samples in the same order without augmentation, for passes.
        batch_size: of passes; None: the training batch size.
        num_workers: of passes.
        scorer: another, small model that scores, or a `sw.Scorer(model, ...)`: see there.
    """

    mode: Literal["eval", "train"] = "eval"
    dtype: torch.dtype | None = None
    every: Annotated[int, Range(1)] = 1
    view: Callable[[Any], Any] | None = None
    at: str | None = None
    dataset: Any = None
    batch_size: Annotated[int | None, Range(1)] = None
    num_workers: Annotated[int, Range(0)] = 0
    scorer: Any = None

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in (torch.bfloat16, torch.float16):
            raise ValueError(f"Scoring.dtype must be torch.bfloat16 or torch.float16, got {self.dtype}.")
        if self.scorer is not None:
            as_scorer(self.scorer)
            if self.at is not None:
                raise ValueError(
                    f"Scoring.at={self.at!r} ends the forward of the model, but Scoring.scorer scores with "
                    "another one. Leave out one of them."
                )
        if self.view is not None and not callable(self.view):
            raise TypeError(
                f"Scoring.view must be a function of a batch's data, got {type(self.view).__name__}. "
                "sw.views has some: half, first(64)."
            )


def device_of(model: nn.Module | None) -> torch.device:
    """The device of the model's first parameter or buffer; the CPU if it has none."""
    if model is None:
        return torch.device("cpu")
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def without_trace(model: nn.Module, scoring: Scoring, lent: bool = True) -> Iterator[None]:
    """Run without gradients, in the mode and dtype of scoring; then restore flags, buffers and random states.

    It uses `no_grad` and not inference mode: sharded modules and reused weights refuse inference tensors.

    Args:
        model: the model that scores.
        scoring: the settings.
        lent: whether to restore torch's random states. If False, the caller restores them.
    """
    device, flags = device_of(model), Flags(model)
    sharded: list[Any] = []
    if any(hasattr(kind, "reshard") for kind in flags.kinds):  # of fully_shard
        sharded = [module for module in flags.modules if hasattr(module, "reshard")]
    whole = _whole(model) if sharded else []
    training = scoring.mode == "train"
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()] if training else []
    window: Any = lent_to(model, scoring.mode, device) if lent else nullcontext()
    cast: Any = nullcontext()
    if scoring.dtype is not None:
        cast = torch.autocast(device.type, dtype=scoring.dtype)
    try:
        if model.training != training or scoring.mode == "eval":
            flags.set(training)
        with torch.no_grad(), cast, window:
            yield
    finally:
        flags.restore()
        if buffers:
            with torch.no_grad():
                for buffer, kept in buffers:
                    buffer.copy_(kept)
        if sharded and _whole(model) != whole:
            for module in sharded:  # fully_shard leaves its root gathered if no backward follows
                module.reshard()


def _whole(model: nn.Module) -> list[bool]:
    """For each parameter: whether it is whole, so not sharded between processes."""
    return [not hasattr(parameter, "full_tensor") for parameter in model.parameters()]
