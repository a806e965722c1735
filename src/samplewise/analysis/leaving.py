"""When each sample left the plan for good, from the history of selections (DynaMS, Figure 9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from samplewise.coresets.history import SelectionHistory
from samplewise.coresets.table import ScoreTable

__all__ = ["Group", "Leaving", "class_counts", "leaving", "leaving_groups"]

Kind = Literal["never", "left", "stayed"]


@dataclass(frozen=True)
class Leaving:
    """The time of every sample in the plan of one training.

    Attributes:
        epochs: the epoch in which each selection was made, ascending. A selection holds until the next one.
        end: the number of epochs of the training.
        last: the number of the last selection that took each sample, from 0; -1: none did.
        times: how many selections took each sample.
        returns: how often each sample came back after a selection had left it out. Its first time in the
            plan does not count.
        epochs_in: for how many epochs each sample was in the plan.
    """

    epochs: tuple[int, ...]
    end: int
    last: Int[Tensor, " n"]
    times: Int[Tensor, " n"]
    returns: Int[Tensor, " n"]
    epochs_in: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.last)

    @cached_property
    def left(self) -> Int[Tensor, " n"]:
        """The epoch in which each sample left the plan for good.

        It is `end` for a sample in the last plan, and the first selection's epoch for one that was never
        taken.
        """
        return torch.tensor([*self.epochs, self.end])[self.last + 1]


@dataclass(frozen=True)
class Group:
    """Samples that left the plan in the same period.

    Attributes:
        kind: never in the plan, left it, or stayed until the end.
        first: the first epoch of the period.
        last: the last epoch of the period that has a selection.
        ids: of the samples, ascending.
    """

    kind: Kind
    first: int
    last: int
    ids: Int[Tensor, " k"]

    @property
    def name(self) -> str:
        """The period in words."""
        if self.kind == "never":
            return "never in the plan"
        if self.kind == "stayed":
            return "in the last plan"
        if self.first == self.last:
            return f"left in epoch {self.first}"
        return f"left in epochs {self.first} to {self.last}"


def leaving(of: ScoreTable | SelectionHistory, epochs: int | None = None) -> Leaving:
    """For every sample when it left the plan for good, how long it was in it, and how often it came back.

    Args:
        of: a table with a history, as a training with `history=True` makes it, or the history.
        epochs: the length of the training. None: as the table says, or until the last selection.

    Raises:
        ValueError: if there is no history or no selection in it, or `epochs` ends before a selection.

    >>> history = SelectionHistory(4)
    >>> for epoch, ids in ((0, [0, 1, 2]), (5, [0, 1]), (10, [0, 2])):
    ...     history.add(epoch, torch.tensor(ids))
    >>> found = leaving(history, epochs=15)
    >>> found.left, found.returns, found.epochs_in
    (tensor([15, 10, 15,  0]), tensor([0, 0, 1, 0]), tensor([15, 10, 10,  0]))
    """
    history = of.history if isinstance(of, ScoreTable) else of
    if history is None:
        raise ValueError(
            "the table has no history of selections. Train with Selector(history=True) or `samplewise train "
            "--history`. A method that selects in batches has no selections of whole epochs, and combined "
            "tables have none."
        )
    if not len(history):
        raise ValueError("the history has no selection: the method had not chosen yet. Train longer.")
    made = tuple(history.epochs)
    if list(made) != sorted(set(made)):
        raise ValueError(f"the epochs of a history must ascend, got {list(made)[:10]}.")
    if epochs is None and isinstance(of, ScoreTable):
        epochs = of.provenance.get("epochs")
    end = made[-1] + 1 if epochs is None else epochs
    if end <= made[-1]:
        raise ValueError(
            f"epochs must be > {made[-1]}, the epoch of the last selection, got {end}. Give the length of "
            "the training."
        )
    n = history.n
    last = torch.full((n,), -1)
    times, returns, inside = (torch.zeros(n, dtype=torch.int64) for _ in range(3))
    before = torch.ones(n, dtype=torch.bool)
    for number, length in enumerate(b - a for a, b in zip(made, (*made[1:], end), strict=True)):
        taken = history.mask(number)
        returns += taken & ~before & (last >= 0)
        last[taken] = number
        times += taken
        inside += taken * length
        before = taken
    return Leaving(made, end, last, times, returns, inside)


def leaving_groups(found: Leaving, most: int = 8) -> list[Group]:
    """The samples by the period in which they left the plan, from the first to leave to those that stayed.

    Args:
        found: by `leaving`.
        most: the most periods in which samples leave. If there are more selections, each period has several.

    Returns:
        the groups that have samples.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}.")
    selections = len(found.epochs)
    # Samples leave at the selections 1, 2, ...: selection 0 leaves out those that are never taken, or later.
    bounds = torch.linspace(1, selections, min(most, max(selections - 1, 1)) + 1).round().long().tolist()
    made = [Group("never", found.epochs[0], found.epochs[0], _ids(found.last == -1))]
    for first, after in pairwise(bounds):
        if first < after:
            ids = _ids((found.last + 1 >= first) & (found.last + 1 < after) & (found.last >= 0))
            made.append(Group("left", found.epochs[first], found.epochs[after - 1], ids))
    made.append(Group("stayed", found.end, found.end, _ids(found.last == selections - 1)))
    return [group for group in made if len(group.ids)]


def class_counts(groups: Sequence[Group], labels: Int[Tensor, " n"]) -> Int[Tensor, "groups classes"]:
    """How many samples of each class are in each group.

    Raises:
        ValueError: if there are fewer labels than samples.
    """
    highest = max(int(group.ids.max()) for group in groups)
    if len(labels) <= highest:
        raise ValueError(
            f"labels must have one class for each sample, but sample {highest} has none of the {len(labels)}."
        )
    classes = int(labels.max()) + 1
    return torch.stack([labels[group.ids].bincount(minlength=classes) for group in groups])


def _ids(mask: Tensor) -> Int[Tensor, " k"]:
    return mask.nonzero().squeeze(1)
