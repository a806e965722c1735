"""Scoring forwards: they give losses, and change neither the model nor the random states."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any, Literal

import torch
from torch import nn

from samplewise.checks import Range, checked, warn
from samplewise.data.randomness import lent_to
from samplewise.loop.scorers import as_scorer
from samplewise.loop.target import as_target

__all__ = ["Flags", "Scoring", "device_of", "modules_of", "without_trace"]


@checked
@dataclass(frozen=True)
class Scoring:
    """How scores are computed.

    Args:
        mode: `eval` or `train` for the model while it scores. In `train` its buffers are restored after.
        dtype: autocast to this type while scoring, such as `torch.bfloat16`; None: as training does. If
            forward switches autocast off (`torch.autocast(..., enabled=False)`), a warning says so.
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
        target: a few samples towards which `greats_last_layer` chooses: one batch in the form that forward
            takes, a map-style data set, or a `sw.Target(data, ...)`: see there.
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
    target: Any = field(default=None, repr=False, compare=False)

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
        if self.target is not None:
            as_target(self.target)
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
    cast: Any = nullcontext() if scoring.dtype is None else _cast(model, device.type, scoring.dtype)
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


@contextmanager
def _cast(model: nn.Module, kind: str, dtype: torch.dtype) -> Iterator[None]:
    """Autocast to this type; warn if the model is called with autocast switched off again."""

    def look(module: nn.Module, inputs: Any) -> None:
        if not torch.is_autocast_enabled(kind):
            warn(
                f"Scoring.dtype={dtype} has no effect: forward turns autocast off before it calls the model, "
                "as torch.autocast(..., enabled=False) does. Enter autocast only where training uses it, or "
                "leave out Scoring.dtype."
            )

    # A hook would be compiled into a compiled model.
    compiled = hasattr(model, "_orig_mod") or model._compiled_call_impl is not None
    hook = None if compiled else model.register_forward_pre_hook(look)
    try:
        with torch.autocast(kind, dtype=dtype):
            yield
    finally:
        if hook is not None:
            hook.remove()


def _whole(model: nn.Module) -> list[bool]:
    """For each parameter: whether it is whole, so not sharded between processes."""
    return [not hasattr(parameter, "full_tensor") for parameter in model.parameters()]


def modules_of(model: nn.Module) -> list[nn.Module]:
    """The model and every module in it, each once."""
    found: list[nn.Module | None] = [model]
    read: set[int] = set()
    for module in found:  # grows while it is read
        if module is not None and (children := module._modules) and id(module) not in read:
            read.add(id(module))
            found.extend(children.values())
    each = dict.fromkeys(found)
    each.pop(None, None)
    return list(each)  # type: ignore[arg-type]  # None is gone


class Flags:
    """The training flags of all modules of a model: sets them for a while, and restores them.

    `nn.Module.train()` writes every flag through `nn.Module.__setattr__`, which takes most of its time. Where
    no class overrides what `train()` does, the flags are written directly. The modules are found anew each
    time, so added, removed and swapped modules need no care.

    Attributes:
        modules: the model first.
        kinds: their classes.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = modules_of(model)
        self.kinds: set[type] = set(map(type, self.modules))
        self._entries = list(map(vars, self.modules))
        self._flags = [module.training for module in self.modules]
        # An instance may have a `train` of its own too: code that freezes a layer assigns one.
        own = True in ["train" in entries for entries in self._entries]
        self._plain = not own and all(map(_plain, self.kinds))

    def set(self, training: bool) -> None:
        """Set all flags, as `model.train(training)` does."""
        if not self._plain:
            _train(self.modules[0], training)
            return
        for entries in self._entries:
            entries["training"] = training

    def restore(self) -> None:
        """Set every flag to what it was. Frozen batch norms and the like differ from the whole model."""
        if self._plain:
            for entries, was in zip(self._entries, self._flags, strict=True):
                entries["training"] = was
            return
        model, flag = self.modules[0], self._flags[0]
        if model.training != flag:
            _train(model, flag)
        for module, was in zip(self.modules, self._flags, strict=True):
            if module.training != was:
                module.training = was


def _plain(kind: type[Any]) -> bool:
    """Whether `train()` of this class does no more than to write the flag of each module."""
    setting: Any = kind.__setattr__
    own = setting is not nn.Module.__setattr__ or hasattr(kind, "training")
    return not own and kind.train is nn.Module.train and kind.children is nn.Module.children


def _train(module: nn.Module, training: bool) -> None:
    """`module.train(training)`, with the flags of plain modules written directly."""
    if not _plain(type(module)) or "train" in vars(module):
        module.train(training)
        return
    vars(module)["training"] = training
    for child in module.children():
        _train(child, training)
