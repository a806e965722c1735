"""What the head of a scoring forward that ends early predicts: classes, numbers, or the tokens of a text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from samplewise.data.ids import in_classes
from samplewise.data.outputs import Batch, Outputs
from samplewise.loop.head import Head, first_tensor, pooled, scaled

__all__ = ["Targets", "check_targets", "learned", "scored"]

_IGNORED = -100
"""The class number of rows and tokens that count in no loss, as in torch."""


@dataclass
class Targets:
    """Where the targets of a batch come from: `labels` by ids, or `given`, a function of the batch's data."""

    labels: Tensor | None
    given: Callable[[Any], Any] | None
    classes: int | None
    """None: not known. Then targets must be numbers."""

    def of(self, batch: Batch) -> Tensor:
        """Class numbers (b,), numbers (b, k) in float32, or class numbers (b, tokens).

        Raises:
            ValueError: if the function returns something else, or class numbers outside the classes.
        """
        ids, b = batch.ids, len(batch)
        if self.labels is not None:
            if self.labels.device != ids.device:
                self.labels = self.labels.to(ids.device)
            of_ids: Tensor = self.labels[ids]
            return of_ids
        found: Any = None if self.given is None else self.given(batch.data)
        if not isinstance(found, Tensor) or len(found.shape) not in (1, 2) or len(found) != b:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"forward.targets must return class numbers or numbers for each of {b} rows, (b,), (b, k) or "
                f"(b, tokens), got {got}."
            )
        if found.is_floating_point():
            numbers: Tensor = found.detach().float().reshape(b, -1)
            return numbers
        if self.classes is None:
            raise ValueError(
                "forward.targets returns class numbers, so forward.classes must be the number of classes, "
                "but forward has none. Set it. For a regression return floating-point numbers."
            )
        numbers = found.long()
        if found.is_cpu and not in_classes(counted := numbers[numbers != _IGNORED], self.classes):
            low, high = counted.aminmax()
            raise ValueError(
                f"forward.targets must be in [0, {self.classes}), the classes of forward, or {_IGNORED} to "
                f"leave one out, got {int(low)} to {int(high)}."
            )
        return numbers


def check_targets(labels: Tensor | None, forward: Any) -> Targets:
    """The targets of a head, or an error if none are known."""
    given, classes = getattr(forward, "targets", None), getattr(forward, "classes", None)
    if labels is None:
        if not callable(given):
            raise ValueError(
                "Scoring.at needs targets for its head, but labels is None and forward has no `targets`. "
                "Give Selector(labels=...), or set forward.targets to a function of a batch's data that "
                "returns class numbers (b,), numbers (b,) or (b, k), or class numbers of tokens (b, tokens)."
            )
        return Targets(None, given, classes)
    classes = classes or int(labels.max()) + 1
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"Scoring.at needs labels in [0, {classes}), the classes of forward, got {int(labels.min())} to "
            f"{int(labels.max())}."
        )
    return Targets(labels, None, classes)


def scored(head: Head, output: Any, targets: Tensor, mask: Tensor | None, where: str) -> Outputs:
    """The losses of a head on the output of a layer.

    Class numbers (b,) give the cross-entropy, with logits, targets, features and the head; numbers the mean
    squared error; tokens the mean cross-entropy of those that count, with the logits of all.

    Args:
        head: on the layer.
        output: of the layer.
        targets: as `Targets.of` gives them.
        mask: the attention mask (b, tokens), if there is one.
        where: the layer, for errors.
    """
    if targets.is_floating_point():
        features = pooled(output, mask, len(targets), where)
        errors = head(features, targets.shape[1]) - targets
        return Outputs(errors.square().mean(1), features=features)
    if targets.ndim == 1:
        features = pooled(output, mask, len(targets), where)
        logits = head(features)
        loss = F.cross_entropy(logits, targets, reduction="none", ignore_index=_IGNORED)
        return Outputs(loss, logits, targets, features, head.layer)
    logits = head(_each_token(output, targets, where))
    terms = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=_IGNORED)
    return Outputs(terms.sum(1) / (targets != _IGNORED).sum(1).clamp(min=1), logits)


def learned(
    output: Any, targets: Tensor, mask: Tensor | None, where: str, real: int
) -> tuple[Float[Tensor, "k d"], Tensor]:
    """The features and targets that a head learns from: those of the first `real` rows that count."""
    if targets.ndim == 2 and not targets.is_floating_point():
        features = _each_token(output, targets, where)
    else:
        features = pooled(output, mask, len(targets), where)
    features, targets = features[:real], targets[:real]
    if targets.is_floating_point():
        return features, targets
    counts = targets != _IGNORED
    return features[counts], targets[counts]


def _each_token(output: Any, targets: Tensor, where: str) -> Float[Tensor, "b t d"]:
    """The output of a layer as scaled features of every token, in float32."""
    found = first_tensor(output, where)
    if found.ndim != 3 or found.shape[:2] != targets.shape or not found.is_floating_point():
        raise ValueError(
            f"{where} must return numbers for each of {tuple(targets.shape)} rows and tokens of "
            f"forward.targets, got {found.dtype} of shape {tuple(found.shape)}. Name another layer."
        )
    return scaled(found)
