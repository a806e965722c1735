"""The optimizer and the shape of the learning rate over the progress of a run."""

import math

import torch
from torch import nn

# Where a schedule warms up, over this share of the run and from this share of the top rate.
WARMUP, START = 0.15, 0.1
DEFAULT_LR = {"sgd": 0.05, "adamw": 0.001}


def optimizer(name: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum 0.9, or AdamW; weight decay 5e-4 both."""
    if name == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=5e-4)
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)


def shape(schedule: str, progress: float) -> float:
    """The share of the top learning rate at `progress` in [0, 1].

    Progress counts the batches that are really planned, so a method that shortens its epochs
    still comes down to zero at its own end.

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
