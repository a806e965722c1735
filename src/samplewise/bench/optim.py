"""The optimizer and the learning-rate schedule of a run."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import nn

from samplewise.checks import Range, checked

__all__ = ["DEFAULT_LR", "WARMUPS", "LrSchedule", "LrShape", "optimizer"]

LrSchedule = Literal["onecycle", "cosine", "constant", "step", "polynomial", "torch_onecycle"]
DEFAULT_LR = {"sgd": 0.05, "adamw": 0.001}
WARMUPS: dict[str, float] = {"onecycle": 0.15, "polynomial": 0.1, "torch_onecycle": 0.3}
"""The warm-up of each schedule that has one, as a share of the run."""
START = 0.1
"""The first learning rate of `onecycle`, as a share of the top rate."""
FIRST, LAST = 1 / 25, 1 / 25e4
"""The first and the last learning rate of torch's OneCycleLR, as shares of the top rate."""
MOMENTUM = 0.85, 0.95
"""The momentum of torch's OneCycleLR at the top rate, and at the first and last rate."""


def optimizer(
    name: str, model: nn.Module, lr: float, weight_decay: float = 5e-4, momentum: float = 0.9
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, whose beta1 is `momentum`."""
    if name == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay
        )
    return torch.optim.SGD(
        model.parameters(), lr=lr, momentum=momentum, nesterov=momentum > 0, weight_decay=weight_decay
    )


@checked
@dataclass(frozen=True)
class LrShape:
    """How the learning rate changes during a run: its share of the top rate, by progress.

    Progress is based on the planned batches, so a method that shortens the epochs has the whole schedule.
    All lengths are shares of the run, so they scale with the epochs.

    Args:
        schedule: `onecycle` (ours: up in a line, down by a cosine), `torch_onecycle` (as torch's OneCycleLR
            with its defaults, which also moves the momentum), `cosine`, `polynomial`, `step`, `constant`.
        milestones: of `step`: where the rate is multiplied by `factor`, ascending.
        factor: of `step`.
        warmup: of `onecycle`, `torch_onecycle` and `polynomial`; None: 0.15, 0.3 and 0.1.
        power: of `polynomial`: (1 - progress)^power after the warm-up.

    >>> shape = LrShape("step", milestones=(0.5, 0.75), factor=0.1)
    >>> [round(shape.at(p), 3) for p in (0.0, 0.49, 0.5, 0.8)]
    [1.0, 1.0, 0.1, 0.01]
    """

    schedule: LrSchedule = "onecycle"
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: Annotated[float, Range(0, 1, open_low=True)] = 0.1
    warmup: Annotated[float | None, Range(0, 1, open_high=True)] = None
    power: Annotated[float, Range(0, open_low=True)] = 1.0

    def __post_init__(self) -> None:
        inside = all(0 < milestone < 1 for milestone in self.milestones)
        if not inside or list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(
                "--milestone must ascend in (0, 1), as shares of the run, got "
                f"{' '.join(f'{milestone:g}' for milestone in self.milestones)}."
            )
        if self.warmup is not None and self.schedule not in WARMUPS:
            raise ValueError(
                f"--warmup needs one of the schedules {', '.join(WARMUPS)}, got {self.schedule}."
            )

    def at(self, progress: float) -> float:
        """The learning rate at `progress` in [0, 1], as a share of the top rate.

        >>> [round(LrShape("cosine").at(p), 2) for p in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
        """
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "step":
            # The progress of a whole number of epochs may be a rounding error below the milestone.
            return self.factor ** sum(progress + 1e-9 >= milestone for milestone in self.milestones)
        warm = WARMUPS.get(self.schedule, 0.0) if self.warmup is None else self.warmup
        rising = progress < warm
        part = progress / warm if rising else (progress - warm) / (1 - warm)
        if self.schedule == "torch_onecycle":
            return _between(FIRST, 1.0, part) if rising else _between(1.0, LAST, part)
        if self.schedule == "polynomial":
            return part if rising else max(0.0, 1 - part) ** self.power
        return START + (1 - START) * part if rising else _between(1.0, 0.0, part)

    def set(self, made: torch.optim.Optimizer, lr: float, progress: float) -> None:
        """Set the learning rate of an optimizer, and its momentum if the schedule moves it.

        Args:
            made: by `optimizer`.
            lr: the top rate, times the factor of the method.
            progress: in [0, 1].
        """
        share = self.at(progress)
        for group in made.param_groups:
            group["lr"] = lr * share
            if self.schedule == "torch_onecycle":
                _set_momentum(group, self._momentum(progress))

    def _momentum(self, progress: float) -> float:
        low, high = MOMENTUM
        warm = WARMUPS[self.schedule] if self.warmup is None else self.warmup
        if progress < warm:
            return _between(high, low, progress / warm)
        return _between(low, high, (progress - warm) / (1 - warm))


def _between(first: float, last: float, part: float) -> float:
    """From `first` to `last` by half a cosine."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * part))


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = momentum, group["betas"][1]
    else:
        group["momentum"] = momentum
