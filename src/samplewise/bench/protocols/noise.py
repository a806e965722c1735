"""Wrong labels on purpose: exact counts, drawn from a generator, with the mask of what changed."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class NoisyLabels(NamedTuple):
    """Labels of which some are wrong, and which ones those are."""

    labels: Int[Tensor, " n"]
    wrong: Bool[Tensor, " n"]


def uniform_label_noise(
    labels: Int[Tensor, " n"], rate: float, classes: int, rng: torch.Generator
) -> NoisyLabels:
    """Give exactly round(rate n) samples a label drawn evenly from the other classes.

    >>> noisy = uniform_label_noise(torch.zeros(10, dtype=torch.long), 0.4, 3, torch.Generator())
    >>> int(noisy.wrong.sum()), int((noisy.labels != 0).sum())
    (4, 4)
    """
    ids = _victims(labels, rate, classes, rng)
    # A step of 1..C-1 round the circle of classes reaches every other class equally often.
    step = torch.randint(1, classes, (len(ids),), generator=rng)
    return _replaced(labels, ids, (labels[ids] + step) % classes)


def flip_label_noise(
    labels: Int[Tensor, " n"],
    rate: float,
    classes: int,
    rng: torch.Generator,
    next_class: bool = False,
) -> NoisyLabels:
    """Give exactly round(rate n) samples the one fixed wrong class of their true class.

    The map from true to wrong class is drawn once from `rng`, evenly for each class; with
    `next_class` it is y + 1, and 0 for the last class.

    >>> flip_label_noise(torch.tensor([0, 1, 2]), 1.0, 3, torch.Generator(), next_class=True).labels
    tensor([1, 2, 0])
    """
    ids = _victims(labels, rate, classes, rng)
    step = torch.ones(classes, dtype=torch.long)
    if not next_class:
        step = torch.randint(1, classes, (classes,), generator=rng)
    wrong_class = (torch.arange(classes) + step) % classes
    return _replaced(labels, ids, wrong_class[labels[ids]])


NOISES = {"uniform": uniform_label_noise, "flip": flip_label_noise}


def _victims(labels: Tensor, rate: float, classes: int, rng: torch.Generator) -> Tensor:
    if not 0 <= rate <= 1:
        raise ValueError(f"label noise must be in [0, 1], got {rate}")
    if classes < 2:
        raise ValueError(f"label noise needs at least 2 classes, got {classes}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"label noise over {classes} classes needs labels 0 to {classes - 1}, "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    return torch.randperm(len(labels), generator=rng)[: round(rate * len(labels))]


def _replaced(labels: Tensor, ids: Tensor, values: Tensor) -> NoisyLabels:
    noisy, wrong = labels.clone(), torch.zeros(len(labels), dtype=torch.bool)
    noisy[ids] = values
    wrong[ids] = True
    return NoisyLabels(noisy, wrong)
