"""The optimizer and the learning-rate schedule of a run."""

import math

import torch
from torch import nn

# Warm-up: its share of the run, and its first learning rate as a share of the top rate.
WARMUP, START = 0.15, 0.1
DEFAULT_LR = {"sgd": 0.05, "adamw": 0.001}


def optimizer(name: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum 0.9, or AdamW. Both have weight decay 5e-4."""
    if name == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=5e-4)
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)


def shape(schedule: str, progress: float) -> float:
    """The learning rate at `progress` in [0, 1], as a share of the top rate.

    Progress is based on the planned batches, so the rate also ends at zero if a method shortens the epochs.

    >>> [round(shape("cosine", p), 2) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """
    if schedule == "constant":
        return 1.0
    if schedule == "onecycle":
        if progress < WARMUP:
            return START + (1 - START) * progress / WARMUP
        progress = (progress - WARMUP) / (1 - WARMUP)
    return 0.5 * (1 + math.cos(math.pi * progress))
