"""The plan over time as numbers: the share kept by class and by selection, and the shares of groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from samplewise.html.facts import Run

__all__ = ["Kept", "group_shares", "kept_by_class"]

SELECTIONS = 60
"""Of more selections, so many are taken, evenly spaced, with the first and the last."""
CLASSES = 30
"""Of more classes, half this many with the smallest and half with the largest share over all selections."""


@dataclass(frozen=True)
class Kept:
    """What share of each class the selections took.

    Attributes:
        epochs: in which the selections were made (s,).
        all: the share of all samples that each took (s,).
        classes: the class numbers that are shown (c,), ascending.
        by_class: their shares (s, c); empty if labels are not known.
        made: how many selections there were.
        known: how many classes there are.
    """

    epochs: Sequence[int]
    all: Float[np.ndarray, " s"]
    classes: Sequence[int]
    by_class: Float[np.ndarray, "s c"]
    made: int
    known: int


def kept_by_class(run: Run) -> Kept | None:
    """The shares out of the history of a run; None without a history or a selection in it."""
    table = run.table
    history = None if table is None else table.history
    if table is None or history is None or not len(history):
        return None
    which = np.unique(np.linspace(0, len(history) - 1, min(SELECTIONS, len(history))).round().astype(int))
    labels = None if table.labels is None else table.labels.numpy()
    sizes = np.bincount(labels) if labels is not None else np.zeros(0, dtype=np.int64)
    overall, by_class = np.zeros(len(which)), np.zeros((len(which), len(sizes)))
    for row, selection in enumerate(which.tolist()):
        mask = history.mask(selection).numpy()
        overall[row] = mask.mean()
        if labels is not None:
            by_class[row] = np.bincount(labels[mask], minlength=len(sizes)) / np.maximum(sizes, 1)
    classes = np.flatnonzero(sizes)
    if len(classes) > CLASSES:
        order = classes[np.argsort(by_class[:, classes].mean(0), kind="stable")]
        half = CLASSES // 2
        classes = np.sort(np.concatenate([order[:half], order[-half:]]))
    epochs = [history.epochs[selection] for selection in which.tolist()]
    known = int((sizes > 0).sum())
    return Kept(epochs, overall, classes.tolist(), by_class[:, classes], len(history), known)


def group_shares(selections: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """For every group of `Selector(groups=...)` its share of each selection, by epoch.

    >>> group_shares([{"epoch": 0, "share web": 0.75, "loss web": 2.0}])
    {'web': [(0, 0.75)]}
    """
    word = "share "
    found: dict[str, list[tuple[int, float]]] = {}
    for notes in selections:
        for key, value in notes.items():
            if key.startswith(word):
                found.setdefault(key.removeprefix(word), []).append((int(notes["epoch"]), float(value)))
    return found
