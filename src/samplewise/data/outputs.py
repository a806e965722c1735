"""What a forward pass returns, what a batch is, and a walk through the parts of any batch."""

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["Batch", "Outputs", "as_batch", "as_outputs", "check_fields", "check_shapes", "walk"]


@dataclass(frozen=True)
class Outputs:
    """What a forward pass tells about its batch of b samples; only what the recipe needs must be given.

    Args:
        loss: per-sample losses (b,), with graph where the batch is to be trained on.
        logits: (b, c), before the softmax.
        targets: (b,), class numbers.
        features: (b, d), the input of the last layer.
        head: the last layer's weight (c, d) and bias (c,) or None.
        gradient_norm: (b,), the norm of each sample's gradient over all parameters; a pass for `grand`
            fills it in, engine users who want that score give it.
        normalizer: (b,), >= 0: what each sample adds to the divisor of the reduced loss, in place of 1. The
            loss is then `(weights * losses).sum() / normalizer.sum()` over the rows that are trained, as
            torch reduces with class weights (the weight of the target) or an ignored target (0).
    """

    loss: Tensor
    logits: Tensor | None = None
    targets: Tensor | None = None
    features: Tensor | None = None
    head: tuple[Tensor, Tensor | None] | None = None
    gradient_norm: Tensor | None = None
    normalizer: Tensor | None = None


class Batch(NamedTuple):
    """A batch and the positions of its samples in the full data set.

    `data` is exactly what the user's collate returned. A NamedTuple, so that pinning and the
    transfers of frameworks work on it as on any tuple, and `ids, data = batch` unpacks it; but its length
    is the number of samples.

    >>> batch = Batch(torch.arange(5), "five samples")
    >>> ids, data = batch
    >>> len(batch), data
    (5, 'five samples')
    """

    ids: Int[Tensor, " b"]
    data: Any

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "Batch":
        """The same batch with every tensor in it on `device`."""

        def move(leaf: Any, path: str) -> Any:
            if not hasattr(leaf, "to"):
                return leaf
            return leaf.to(device, non_blocking=non_blocking)

        return Batch(self.ids.to(device, non_blocking=non_blocking), walk(self.data, move))


def _made(cls: type[Batch], parts: Iterable[Any]) -> Batch:
    """As a named tuple's own `_make`, which `_replace` calls, but that checks the length of the tuple."""
    return cls(*parts)


Batch._make = classmethod(_made)  # type: ignore[method-assign,assignment]  # no class body may set it

Leaf = Callable[[Any, str], Any]
Stop = Callable[[Any, str], bool]


def walk(data: Any, leaf: Leaf, path: str = "batch", stop: Stop | None = None) -> Any:
    """Rebuild a nested batch with `leaf(value, path)` in place of everything that is no container.

    A container for which `stop(value, path)` is true is given to `leaf` whole.
    """
    if isinstance(data, Tensor) or (stop is not None and stop(data, path)):
        return leaf(data, path)
    if isinstance(data, Mapping):
        new = {key: walk(value, leaf, f"{path}[{key!r}]", stop) for key, value in data.items()}
        if not isinstance(data, MutableMapping):
            return type(data)(new)  # type: ignore[call-arg]
        same = copy.copy(data)  # keeps what a BatchEncoding or a defaultdict carries beside its items
        same.update(new)
        return same
    if isinstance(data, list | tuple):
        items = [walk(item, leaf, f"{path}[{i}]", stop) for i, item in enumerate(data)]
        return type(data)(*items) if hasattr(data, "_fields") else type(data)(items)
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        new_object = copy.copy(data)
        for field in dataclasses.fields(data):
            value = walk(getattr(data, field.name), leaf, f"{path}.{field.name}", stop)
            object.__setattr__(new_object, field.name, value)
        return new_object
    return leaf(data, path)


def check_fields(outputs: Outputs, needed: tuple[str, ...], owner: str) -> None:
    """Raise unless `outputs` has all that is needed, in the shapes it must have."""
    missing = [name for name in needed if getattr(outputs, name) is None]
    if missing:
        said = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{owner} needs {' and '.join(missing)}: return sw.Outputs(loss=..., {said}) from forward."
        )
    check_shapes(outputs, needed)
    if "head" in needed and outputs.head is not None:
        _check_head(outputs, outputs.head[0])


def check_shapes(outputs: Outputs, needed: Collection[str]) -> None:
    """Raise unless those of the needed fields that are there have the shapes that they must have."""
    b = len(outputs.loss)
    logits, targets = outputs.logits, outputs.targets
    for name in needed:
        value = getattr(outputs, name, None)
        if isinstance(value, Tensor) and value.shape[:1] != (b,):
            raise ValueError(
                f"Outputs.{name} must have {b} rows, one for each loss, got shape {tuple(value.shape)}."
            )
    if "logits" in needed and logits is not None and (logits.ndim != 2 or len(logits) != b):
        raise ValueError(f"Outputs.logits must have shape ({b}, classes), got {tuple(logits.shape)}.")
    if "targets" in needed and targets is not None and (targets.shape != (b,) or targets.is_floating_point()):
        raise ValueError(f"Outputs.targets must be {b} class numbers, got shape {tuple(targets.shape)}.")


def _check_head(outputs: Outputs, weight: Tensor) -> None:
    """Raise unless features, logits and targets are those of a head with this weight."""
    classes, width = weight.shape
    features, logits, targets = outputs.features, outputs.logits, outputs.targets
    targets = None if targets is None else targets.long()  # torch has no minimum of wide unsigned types
    if features is not None and features[0].numel() != width:
        raise ValueError(
            f"Outputs.features have {features[0].numel()} numbers a sample, but Outputs.head takes {width}: "
            "features are the input of the head."
        )
    if logits is not None and logits.shape[-1] != classes:
        raise ValueError(f"Outputs.logits have {logits.shape[-1]} classes, but Outputs.head has {classes}.")
    if targets is not None and targets.is_cpu and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise ValueError(
            f"Outputs.targets must be class numbers of the head's {classes} classes, got "
            f"{int(targets.min())} to {int(targets.max())}."
        )


def as_batch(given: Any) -> Batch:
    """A batch that went through somebody's hands as a plain `(ids, data)` pair."""
    pair = isinstance(given, Batch) or (isinstance(given, tuple) and len(given) == 2)
    ids = given[0] if pair else None
    if not (isinstance(ids, Tensor) and ids.dtype is torch.int64 and ids.ndim == 1):
        raise TypeError(f"loss takes the Batch(ids, data) of selector.loader(), got {type(given).__name__}.")
    return Batch(*given)


def as_outputs(returned: Any, b: int) -> Outputs:
    """What the user's forward returned, checked: one loss for each of b samples."""
    outputs = Outputs(loss=returned) if isinstance(returned, Tensor) else returned
    if not isinstance(outputs, Outputs):
        raise TypeError(
            "forward must return per-sample losses (b,) or sw.Outputs(loss=...), "
            f"got {type(returned).__name__}."
        )
    shape = outputs.loss.shape
    if shape == (b,):
        if outputs.normalizer is not None:
            _check_normalizer(outputs.normalizer, b)
        return outputs
    if shape == ():
        raise ValueError(
            "forward returned one loss for the whole batch, but selection needs one for each sample: "
            'use reduction="none".'
        )
    fix = ""
    if len(shape) > 1 and shape[0] == b:
        once = "squeeze(1)" if shape == (b, 1) else "mean(1)" if len(shape) == 2 else "flatten(1).mean(1)"
        fix = f" Did you mean loss.{once}?"
    raise ValueError(f"forward must return losses of shape ({b},), got {tuple(shape)}.{fix}")


def _check_normalizer(normalizer: Tensor, b: int) -> None:
    if normalizer.shape != (b,):
        raise ValueError(f"Outputs.normalizer must have shape ({b},), got {tuple(normalizer.shape)}.")
    if normalizer.is_cpu and len(wrong := normalizer[~((normalizer >= 0) & normalizer.isfinite())]):
        raise ValueError(f"Outputs.normalizer must be finite and >= 0, got {wrong[0]:g}.")
