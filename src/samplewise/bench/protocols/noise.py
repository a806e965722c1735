"""Label noise: an exact number of wrong labels, and the mask of the changed samples."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from samplewise.data.ids import in_classes


class NoisyLabels(NamedTuple):
    """Labels with noise, and a mask of the wrong ones."""

    labels: Int[Tensor, " n"]
    wrong: Bool[Tensor, " n"]


def uniform_label_noise(
    labels: Int[Tensor, " n"], rate: float, classes: int, rng: torch.Generator
) -> NoisyLabels:
    """Change the labels of exactly round(rate * n) samples to a class drawn uniformly from the other classes.

    >>> noisy = uniform_label_noise(torch.zeros(10, dtype=torch.long), 0.4, 3, torch.Generator())
    >>> int(noisy.wrong.sum()), int((noisy.labels != 0).sum())
    (4, 4)
    """
    ids = _drawn_ids(labels, rate, classes, rng)
    # A step of 1..C-1, modulo C, reaches every other class with equal probability.
    step = torch.randint(1, classes, (len(ids),), generator=rng)
    return _replaced(labels, ids, (labels[ids] + step) % classes)


def flip_label_noise(
    labels: Int[Tensor, " n"],
    rate: float,
    classes: int,
    rng: torch.Generator,
    next_class: bool = False,
) -> NoisyLabels:
    """Change the labels of exactly round(rate * n) samples by a fixed map from true to wrong class.

    The map is drawn once from `rng`, uniformly over the other classes. With `next_class`, class y becomes
    y + 1, and the last class becomes 0.

    >>> flip_label_noise(torch.tensor([0, 1, 2]), 1.0, 3, torch.Generator(), next_class=True).labels
    tensor([1, 2, 0])
    """
    ids = _drawn_ids(labels, rate, classes, rng)
    step = torch.ones(classes, dtype=torch.long)
    if not next_class:
        step = torch.randint(1, classes, (classes,), generator=rng)
    wrong_class = (torch.arange(classes) + step) % classes
    return _replaced(labels, ids, wrong_class[labels[ids]])


NOISES = {"uniform": uniform_label_noise, "flip": flip_label_noise}


def _drawn_ids(labels: Tensor, rate: float, classes: int, rng: torch.Generator) -> Tensor:
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in [0, 1], got {rate}: it is the share of labels to change.")
    if classes < 2:
        raise ValueError(f"classes must be at least 2 for label noise, got {classes}.")
    if not in_classes(labels, classes):
        raise ValueError(
            f"labels must be in [0, {classes}) for label noise with {classes} classes, "
            f"got {int(labels.min())} to {int(labels.max())}."
        )
    return noisy_ids(len(labels), rate, rng)


def noisy_ids(n: int, rate: float, rng: torch.Generator) -> Int[Tensor, " k"]:
    """The samples whose labels are made wrong: round(rate * n) of n. The labels decide nothing."""
    return torch.randperm(n, generator=rng)[: round(rate * n)]


def _replaced(labels: Tensor, ids: Tensor, values: Tensor) -> NoisyLabels:
    noisy, wrong = labels.clone(), torch.zeros(len(labels), dtype=torch.bool)
    noisy[ids] = values
    wrong[ids] = True
    return NoisyLabels(noisy, wrong)
