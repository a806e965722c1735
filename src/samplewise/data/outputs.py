"""`Outputs` of a forward, `Batch`, their checks, and a walk over the parts of a nested batch."""

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import TypeVar

from samplewise.data.html import html_table
from samplewise.data.ids import few, in_classes
from samplewise.data.shown import shown
from samplewise.packed import Losses

T = TypeVar("T", bound=Any, default=Any)
"""What the collate function returns. The default makes `Batch` alone a batch of anything. The bound lets
pyright accept a lambda as forward."""

__all__ = [
    "Batch",
    "Outputs",
    "as_batch",
    "as_outputs",
    "check_fields",
    "check_shapes",
    "from_forward",
    "refuse_targets",
    "walk",
]


_LAST_LAYER = ("logits", "targets", "features", "head")
"""What `target_product` is computed from."""


@dataclass(frozen=True)
class Outputs:
    """The results of a forward on b samples. Give `loss`, and the fields that the recipe needs.

    Args:
        loss: per-sample losses (b,), with the autograd graph if the batch is trained.
        logits: (b, c), before the softmax. For a few methods also those of every token, (b, t, c).
        targets: (b,), class numbers.
        features: (b, d), the input of the last layer.
        head: the last layer's weight (c, d) and bias (c,) or None.
        gradient_norm: (b,), the norm of each sample's gradient over all parameters. The pass of
            `grand` fills it in. If you call `observe` yourself, give it.
        normalizer: (b,), >= 0: what each sample adds to the divisor of the reduced loss, in place of 1. The
            loss is then `(weights * losses).sum() / normalizer.sum()` over the trained rows. torch reduces in
            the same way with class weights (the weight of the target) and `ignore_index` (0).
        token_losses: (b, t), the loss of every token, with the autograd graph. The reduced loss is then the
            mean over the tokens of the rows that train, not over rows: see `sw.token_outputs`.
        token_targets: (b, t), the number of the token that each of these losses is for. -100: no token, as
            for padding. Such a loss counts in nothing.
        target_product: (b,), the product of each sample's gradient with that of a target set, in the last
            layer. With `Scoring(target=...)` the Selector fills it in. If you call `observe` yourself, give
            it: `samplewise.last_layer.TargetGradient` computes it.
    """

    loss: Tensor
    logits: Tensor | None = None
    targets: Tensor | None = None
    features: Tensor | None = None
    head: tuple[Tensor, Tensor | None] | None = None
    gradient_norm: Tensor | None = None
    normalizer: Tensor | None = None
    token_losses: Tensor | None = None
    token_targets: Tensor | None = None
    target_product: Tensor | None = None

    def first(self, m: int) -> "Outputs":
        """The outputs of the first m samples."""
        of_rows = ("loss", "logits", "targets", "features", "gradient_norm", "normalizer", "target_product")
        named = (*of_rows, "token_losses", "token_targets")
        rows = {name: getattr(self, name) for name in named}
        return dataclasses.replace(
            self, **{name: value[:m] for name, value in rows.items() if value is not None}
        )


class Batch(NamedTuple, Generic[T]):
    """A batch and the positions of its samples in the full data set.

    `data` is exactly what the user's collate returned. It is a NamedTuple: pinning and device transfers of
    frameworks work, and `ids, data = batch` unpacks it. But `len(batch)` is the number of samples, not 2.

    >>> batch = Batch(torch.arange(5), "five samples")
    >>> ids, data = batch
    >>> len(batch), data
    (5, 'five samples')
    """

    ids: Int[Tensor, " b"]
    data: T

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "Batch[T]":
        """Return the batch with all its tensors on `device`."""

        def move(leaf: Any, path: str) -> Any:
            if not hasattr(leaf, "to"):
                return leaf
            return leaf.to(device, non_blocking=non_blocking)

        return Batch(self.ids.to(device, non_blocking=non_blocking), walk(self.data, move))

    def __repr__(self) -> str:
        return f"Batch({len(self)} ids: {self._first_ids()}; data: {shown(self.data)})"

    def _repr_html_(self) -> str:
        return html_table(
            [("ids", self._first_ids()), ("data", shown(self.data))], (), f"{len(self)} samples"
        )

    def _first_ids(self) -> str:
        more = ["..."] * (len(self) > 5)
        return ", ".join([*(str(int(id)) for id in self.ids[:5]), *more])


# beartype, also if a user runs it, does not support a class that is a named tuple and generic.
Batch.__orig_bases__ = (tuple, Generic[T])  # type: ignore[attr-defined, index]


def _made(cls: type[Batch], parts: Iterable[Any]) -> Batch:
    """Replace the `_make` of named tuples, which `_replace` calls: the original compares `len` with 2."""
    return cls(*parts)


Batch._make = classmethod(_made)  # type: ignore[method-assign,assignment]  # no class body may set it

Leaf = Callable[[Any, str], Any]
Stop = Callable[[Any, str], bool]


def walk(data: Any, leaf: Leaf, path: str = "batch", stop: Stop | None = None) -> Any:
    """Rebuild a nested batch, with every value that is not a container replaced by `leaf(value, path)`.

    If `stop(value, path)` is true for a container, the whole container is passed to `leaf`.
    """
    if isinstance(data, Tensor) or (stop is not None and stop(data, path)):
        return leaf(data, path)
    if isinstance(data, Mapping):
        new = {key: walk(value, leaf, f"{path}[{key!r}]", stop) for key, value in data.items()}
        if not isinstance(data, MutableMapping):
            return type(data)(new)  # type: ignore[call-arg]
        same = copy.copy(data)  # keeps the other attributes of a BatchEncoding or a defaultdict
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


def check_fields(outputs: Outputs, needed: tuple[str, ...], owner: str, tokens: bool = False) -> None:
    """Raise if a field in `needed` is missing or has a wrong shape. `tokens`: see `check_shapes`."""
    missing = [name for name in needed if getattr(outputs, name) is None]
    if missing:
        fields = ", ".join(f"{name}=..." for name in missing)
        if "token_losses" in missing:
            raise ValueError(
                f"{owner} chooses tokens, so forward must return a loss for every token. Return "
                "sw.token_outputs(logits, labels), or build forward with sw.language_model(model)."
            )
        if outputs.token_losses is not None and {"logits", "targets"} & {*missing}:
            raise ValueError(
                f"{owner} needs {' and '.join(missing)}: class scores and one label for each sample. A "
                "language model has them for each token, so this method does not work with it. Use one such "
                "as infobatch, loss_sampling, ordered_sgd or rho_tokens."
            )
        raise ValueError(
            f"{owner} needs {' and '.join(missing)}: return sw.Outputs(loss=..., {fields}) from forward."
        )
    check_shapes(outputs, needed, tokens)
    if "head" in needed and outputs.head is not None:
        _check_head(outputs, outputs.head[0])


def from_forward(read: Iterable[str]) -> tuple[str, ...]:
    """The fields that forward must return so that all fields in `read` are known: some are computed.

    >>> from_forward(["loss", "target_product"])
    ('loss', 'logits', 'targets', 'features', 'head')
    """
    wanted: list[str] = []
    for name in read:
        wanted += {"gradient_norm": (), "target_product": _LAST_LAYER}.get(name, (name,))
    return tuple(dict.fromkeys(wanted))


def check_shapes(outputs: Outputs, needed: Collection[str], tokens: bool = False) -> None:
    """Raise if a field in `needed` that is not None has a wrong shape.

    With `tokens`, logits may also be (b, tokens, classes).
    """
    b = len(outputs.loss)
    logits, targets = outputs.logits, outputs.targets
    for name in needed:
        value = getattr(outputs, name, None)
        if isinstance(value, Tensor) and value.shape[:1] != (b,):
            raise ValueError(
                f"Outputs.{name} must have {b} rows, one for each loss, got shape {tuple(value.shape)}."
            )
    if "logits" in needed and logits is not None and logits.ndim not in ((2, 3) if tokens else (2,)):
        more = f" or ({b}, tokens, classes)" if tokens else ""
        raise ValueError(f"Outputs.logits must have shape ({b}, classes){more}, got {tuple(logits.shape)}.")
    if "targets" in needed and targets is not None and (targets.shape != (b,) or targets.is_floating_point()):
        raise ValueError(
            f"Outputs.targets must be {b} integer class numbers, got {targets.dtype} of shape "
            f"{tuple(targets.shape)}."
        )


def _check_head(outputs: Outputs, weight: Tensor) -> None:
    """Raise if features, logits or targets do not fit a head with this weight (classes, width)."""
    classes, width = weight.shape
    features, logits, targets = outputs.features, outputs.logits, outputs.targets
    if features is not None and features[0].numel() != width:
        raise ValueError(
            f"Outputs.features must have {width} numbers per sample, as Outputs.head, got "
            f"{features[0].numel()}. Pass the input of the head."
        )
    if logits is not None and logits.shape[-1] != classes:
        raise ValueError(
            f"Outputs.logits must have {classes} classes, as Outputs.head, got {logits.shape[-1]}. Pass the "
            "output of the head."
        )
    if targets is not None and targets.is_cpu and not in_classes(targets, classes):
        low, high = targets.long().aminmax()
        raise ValueError(
            f"Outputs.targets must be in [0, {classes}), because Outputs.head has {classes} classes, got "
            f"{int(low)} to {int(high)}."
        )


def refuse_targets(ids: Int[Tensor, " b"], outputs: Outputs, epoch: int) -> None:
    """Raise if a target is not in [0, classes). Unchecked, indexing fails later or reads wrong memory."""
    if outputs.targets is None or not len(ids):
        return
    classes = outputs.logits.shape[1] if outputs.logits is not None and outputs.logits.ndim > 1 else None
    if classes is None and outputs.head is not None:
        classes = len(outputs.head[0])
    if in_classes(outputs.targets, classes):
        return
    targets = outputs.targets.long()
    outside = targets < 0 if classes is None else (targets < 0) | (targets >= classes)
    wanted = ">= 0" if classes is None else f"in [0, {classes}), because there are {classes} classes,"
    raise ValueError(
        f"targets must be {wanted} but are {few(targets[outside])} for ids {few(ids[outside])} in epoch "
        f"{epoch}. Remove samples without a class from the data set."
    )


def as_batch(given: Any) -> Batch:
    """Make a `Batch` of a plain `(ids, data)` pair, as some frameworks return it."""
    pair = isinstance(given, Batch) or (isinstance(given, tuple) and len(given) == 2)
    ids = given[0] if pair else None
    if not (isinstance(ids, Tensor) and ids.dtype is torch.int64 and ids.ndim == 1):
        raise TypeError(
            f"loss takes a batch of selector.loader() or sw.Batch(ids, data), got {type(given).__name__}."
        )
    return Batch(*given)


def as_outputs(returned: Any, b: int, what: str = "forward") -> Outputs:
    """Check what the user's forward returned and return it as `Outputs`: one loss for each of b samples.

    Args:
        returned: per-sample losses or `Outputs`.
        b: the number of samples.
        what: the name of the forward in errors.
    """
    outputs = Outputs(loss=returned) if isinstance(returned, Tensor) else returned
    if not isinstance(outputs, Outputs):
        fix = " Return its `mean`: sw.packed.losses(...).mean." if isinstance(returned, Losses) else ""
        raise TypeError(
            f"{what} must return per-sample losses (b,) or sw.Outputs(loss=...), "
            f"got {type(returned).__name__}.{fix}"
        )
    shape = outputs.loss.shape
    if shape == (b,):
        if outputs.normalizer is not None:
            _check_normalizer(outputs.normalizer, b)
        if outputs.token_losses is not None:
            _check_tokens(outputs, outputs.token_losses, what)
        return outputs
    if shape == ():
        raise ValueError(
            f"{what} returned one loss for the whole batch, but selection needs one loss per sample. "
            'Use reduction="none" in the loss function.'
        )
    fix = ""
    if len(shape) > 1 and shape[0] == b:
        once = "squeeze(1)" if shape == (b, 1) else "mean(1)" if len(shape) == 2 else "flatten(1).mean(1)"
        fix = f" Did you mean loss.{once}?"
    elif outputs.token_losses is not None and len(shape) == 1 and shape[0] > b:
        fix = (
            " The batch marks more sequences than it has ids, by seq_idx or another of sw.packed.MARKS. Give "
            "each sequence an id, or leave the marks out of the batch if a row is a sample."
        )
    elif outputs.token_losses is not None and len(shape) == 1:
        fix = (
            " Do sequences share a row? Give the batch too: sw.token_outputs(logits, labels, batch). If you "
            "did, or use sw.language_model: is a sequence empty? A packed row cannot show it. Leave it out "
            "of the data."
        )
    raise ValueError(f"{what} must return losses of shape ({b},), got {tuple(shape)}.{fix}")


def _check_normalizer(normalizer: Tensor, b: int) -> None:
    if normalizer.shape != (b,):
        raise ValueError(f"Outputs.normalizer must have shape ({b},), got {tuple(normalizer.shape)}.")
    if normalizer.is_cpu and len(wrong := normalizer[~((normalizer >= 0) & normalizer.isfinite())]):
        raise ValueError(f"Outputs.normalizer must be finite and >= 0, got {wrong[0]:g}.")


def _check_tokens(outputs: Outputs, losses: Tensor, what: str) -> None:
    targets, b = outputs.token_targets, len(outputs.loss)
    shape = None if targets is None else tuple(targets.shape)
    if losses.ndim != 2 or len(losses) != b or shape != tuple(losses.shape):
        raise ValueError(
            f"{what} must return token_losses and token_targets of the same shape ({b}, tokens), got "
            f"{tuple(losses.shape)} and {shape}. sw.token_outputs(logits, labels) makes both."
        )
    if outputs.normalizer is not None:
        raise ValueError(
            f"{what} must return token_losses or a normalizer, got both. The mean over tokens divides by the "
            "number of tokens. Leave out the normalizer."
        )
