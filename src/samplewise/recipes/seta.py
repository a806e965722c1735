"""SeTa: a window of loss groups that slides from easy to hard (arXiv:2503.13385)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Between, Elapsed

__all__ = ["seta"]


@recipe(
    paper="arXiv:2503.13385",
    level="epoch",
    source="training",
    hints={"keep": "How many samples train depends on the losses: give sampled, groups and alpha."},
)
def seta(
    sampled: Keep = 0.9,
    groups: Annotated[int, Range(1)] = 5,
    alpha: Keep = 0.8,
    until: Annotated[float, Range(0, 1)] = 0.875,
) -> Policy:
    """Draw a part of the samples, and train on those of them whose last loss is in a sliding window.

    `sampled` is the share drawn in every epoch (the paper's r). K-means divides the last losses of the drawn
    samples into `groups` groups (k). The window covers w = ceil(alpha * groups) neighbouring groups. In
    epoch e it begins at group e mod (groups - w + 1), counted from the easiest: it slides from easy to hard
    and then starts again. From the share `until` of the epochs on, all drawn samples train. Weights stay 1.

    The defaults are the settings of the official code for CIFAR-100: r = 0.9, and 4 of 5 groups. That code
    rounds alpha * groups to the nearest number and has alpha = 0.9. For ImageNet it has
    `sampled=1, groups=5, alpha=0.6`. The formulas were taken from that code and from a summary of the paper,
    not from its full text. Both leave open how k-means starts, and how samples without a loss count: here
    `pickers.GroupWindow` says so.

    Signal: loss. Memory: 4 bytes a sample. Choice: uniform draw, then a window over loss groups.
    Cost: no forward beyond training.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Last(),
        picker=pickers.GroupWindow(sampled, groups, Between(alpha, outside=1.0, stop=until), Elapsed()),
        source="training",
    )
