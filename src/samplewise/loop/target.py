"""`Target`: a small set of samples towards which rows are chosen, and how its gradient is kept up to date."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from samplewise.checks import Range, checked
from samplewise.cost.ledger import Ledger
from samplewise.data.ids import in_classes
from samplewise.data.outputs import Batch, Outputs, check_fields, walk
from samplewise.data.randomness import quietly
from samplewise.last_layer import TargetGradient
from samplewise.loop.agreement import digest
from samplewise.policy import Policy
from samplewise.signals import Signal, needs

__all__ = ["Target", "TargetSet", "as_target", "reads_target", "rows_of", "target_set"]

Run = Callable[[Batch], Outputs]


@checked
@dataclass(frozen=True)
class Target:
    """A small set of samples, such as 32, that say what the training is for. Rows are chosen towards it.

    It is read once, when the Selector is built, and stays on the model's device. In every step that scores,
    the current model runs one forward of all its rows, in the same mode and dtype, and through the same view,
    as the batch.

    Args:
        data: one batch in the form that forward takes; a `sw.Batch`; or a map-style data set.
        collate: makes a batch of a list of samples of a data set; None: torch's own.
        batch_size: rows of a data set in one forward.
    """

    data: Any = field(repr=False, compare=False)
    collate: Callable[[list[Any]], Any] | None = None
    batch_size: Annotated[int, Range(1)] = 256

    def __post_init__(self) -> None:
        if self.data is None:
            raise ValueError("Target.data must be a batch or a map-style data set, got None.")
        if not self.is_dataset:
            if self.collate is not None:
                raise ValueError(
                    f"Target.collate is for a data set, but Target.data is one batch, a "
                    f"{type(self.data).__name__}. Leave out collate."
                )
            if not rows_of(self.data):
                raise ValueError("Target.data must have at least one row, got an empty batch.")
        elif not len(self.data):
            raise ValueError("Target.data must have at least one sample, got an empty data set.")

    @property
    def is_dataset(self) -> bool:
        """Whether `data` is a data set. Tensors, mappings, lists and tuples are one batch."""
        kind = type(self.data)
        if issubclass(kind, Tensor | Mapping | list | tuple):
            return False
        return hasattr(kind, "__getitem__") and hasattr(kind, "__len__")

    def batches(self) -> list[Batch]:
        """The rows as batches. The global random states stay as found."""
        if not self.is_dataset:
            return [Batch(torch.arange(rows_of(self.data)), _data_of(self.data))]
        collate = default_collate if self.collate is None else self.collate
        return [
            Batch(ids, quietly(lambda ids=ids: collate([self.data[int(i)] for i in ids])))
            for ids in torch.split(torch.arange(len(self.data)), self.batch_size)
        ]


def as_target(given: Any) -> Target:
    """A `Target` of what `Scoring(target=...)` got."""
    return given if isinstance(given, Target) else Target(given)


def rows_of(data: Any) -> int:
    """The number of rows of a batch: of its ids, or of its first tensor.

    Raises:
        ValueError: if it has no tensor with rows.
    """
    if isinstance(data, Batch):
        return len(data)
    found: list[int] = []

    def note(leaf: Any, path: str) -> Any:
        if isinstance(leaf, Tensor) and leaf.ndim:
            found.append(len(leaf))
        return leaf

    walk(data, note)
    if not found:
        raise ValueError(
            f"Target.data must be a batch with tensors, or a map-style data set, got {type(data).__name__}. "
            "Give sw.Batch(ids, data) if a batch has no tensor with one item a row."
        )
    return found[0]


def _data_of(data: Any) -> Any:
    return data.data if isinstance(data, Batch) else data


class TargetSet:
    """The target set of a Selector at work. Every process has the same rows and, nearly, the same weights.

    Args:
        batches: its rows.
        policy: what it reads, the forward must give.
        ledger: is charged a scoring forward for each row.
        cheap: whether the scoring forward itself charges the ledger, by FLOPs.
    """

    def __init__(self, batches: list[Batch], policy: Policy, ledger: Ledger, cheap: bool) -> None:
        self.batches, self.policy, self.ledger, self.cheap = batches, policy, ledger, cheap
        self.rows = sum(map(len, batches))
        self._unchecked = True

    def shown(self) -> str:
        """What must be equal on all processes. Pixels may differ by rounding, whole numbers may not."""
        found: list[Tensor] = []

        def note(leaf: Any, path: str) -> Any:
            if isinstance(leaf, Tensor) and leaf.dtype in (torch.int64, torch.int32):
                found.append(leaf)
            return leaf

        for batch in self.batches:
            walk(batch.data, note)
        return f"{self.rows} rows, {digest(found)}"

    def complete(self, outputs: Outputs, run: Run) -> Outputs:
        """The outputs of the scoring forward of a batch, with `target_product` of its rows.

        Args:
            outputs: of the batch.
            run: the scoring forward, in the mode and dtype of scoring.
        """
        device = outputs.loss.device
        if self.batches[0].ids.device != device:
            self.batches = [batch.to(device) for batch in self.batches]
        gradient = TargetGradient.of(
            map(partial(self._checked, run) if self._unchecked else run, self.batches)
        )
        self._unchecked = False
        if not self.cheap:
            self.ledger.scoring_forwards += self.rows
        return replace(outputs, target_product=gradient.products(outputs))

    def _checked(self, run: Run, batch: Batch) -> Outputs:
        """The first forward of a batch, with an error that names the target set."""
        try:
            found = run(batch)
        except Exception as error:
            if "memory" in str(error):
                raise
            raise ValueError(
                "forward cannot take Scoring.target, which must be data in the form that forward takes, with "
                f"targets of the same classes. Its error: {str(error).partition(chr(10))[0]}"
            ) from error
        check_fields(found, self.policy.needs, f"{self.policy.name} with Scoring.target")
        if found.logits is not None and found.targets is not None:
            _check_classes(found.targets, found.logits.shape[1])
        return found


def _check_classes(targets: Tensor, classes: int) -> None:
    if not in_classes(targets, classes):
        low, high = targets.long().aminmax()
        raise ValueError(
            f"the targets of Scoring.target must be in [0, {classes}), the classes of the head, got "
            f"{int(low)} to {int(high)}."
        )


def reads_target(signals: tuple[Signal, ...]) -> bool:
    """Whether one of these signals reads the product with the gradient of a target set."""
    return any("target_product" in needs(signal) for signal in signals)


def target_set(
    given: Any, at: str | None, policy: Policy, forward: Any, model: nn.Module | None
) -> list[Batch] | None:
    """The batches of `Scoring(target=...)`, or an error if the method lacks a target or does not use one.

    Args:
        given: the target; None: there is none.
        at: where the scoring forward ends, if not at the head.
        policy: the method.
        forward: of the Selector.
        model: of the Selector. Without both, the user gives the products, and there is no target.
    """
    if not reads_target(policy.signals):
        if given is None:
            return None
        raise ValueError(
            f"Scoring.target cannot be used with {policy.name}, which does not choose towards a target set. "
            "Leave it out, or use greats_last_layer."
        )
    epoch, _ = policy.read_by("picker")
    rows, _ = policy.read_by("batch_picker")
    if (
        policy.batch_picker is None
        or not reads_target(rows)
        or (reads_target(epoch) and "pass" in policy.source)
    ):
        raise ValueError(
            f"{policy.name} cannot choose towards a target set outside of batches: only the scoring forward "
            "of a batch gives target_product. Give Policy(batch_picker=...) and source='training'."
        )
    if policy.batch_tracker is not None and "training" in policy.source:
        raise ValueError(
            f"{policy.name} cannot be combined so: towards a target set only scoring forwards are "
            "remembered, but its choice of epochs remembers training losses. Combine greats_last_layer with "
            "a method that makes passes, such as ucb."
        )
    if forward is None and model is None and given is None:
        return None
    if given is None:
        raise ValueError(
            f"{policy.name} needs a target set, a few samples that say what the training is for. Give "
            "scoring=sw.Scoring(target=...) to Selector or make_selective: one batch as forward takes it, "
            "or a data set."
        )
    if at is not None:
        raise ValueError(
            f"Scoring.at={at!r} cannot be used with {policy.name}: a head beside the model does not have the "
            "gradient of the model's last layer. Leave out at."
        )
    batches = as_target(given).batches()
    classes = getattr(forward, "classes", None)
    for batch in batches:
        pair = batch.data if isinstance(batch.data, list | tuple) else ()
        if (
            classes is not None and len(pair) == 2 and isinstance(pair[1], Tensor)
        ):  # as sw.classifier takes it
            _check_classes(pair[1], classes)
    return batches
