"""Instance-dependent early stopping: leave out samples whose loss no longer bends (arXiv:2502.07547)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule

__all__ = ["ies"]


@recipe(
    paper="arXiv:2502.07547",
    level="epoch",
    source="training+pass",
    hints={"keep": "How many samples train depends on the losses: a larger delta leaves out more."},
)
def ies(
    delta: Annotated[float | Schedule, Range(0)] = 0.001,
    differences: Annotated[int, Range(1)] = 1,
) -> Policy:
    """Train on the samples whose loss still changes its pace; stop training on the others.

    A sample counts as mastered while |L(t) - 2 L(t-1) + L(t-2)| < `delta`, with its losses of the last three
    epochs. Mastered samples are left out of the next epoch. A pass measures their losses after it, so a
    sample trains again when its difference grows. The first choice is before epoch 3. `delta` is the paper's
    delta; its authors recommend values from 1e-5 to 1e-1. Weights stay 1.

    `differences=1` is Algorithm 1, as later papers describe it. `differences=3` is the mean of the last three
    absolute differences, which the official code compares with delta (0.001 for CIFAR-10, 0.002 for
    CIFAR-100). That code waits for a fourth difference, and here a sample can be left out one epoch earlier.
    The full text of the paper was not read.

    Signal: loss. Memory: 13 bytes a sample. Choice: all that reach the threshold.
    Cost: one forward over the samples that were left out, after every epoch but the last.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.SecondDifference(differences),
        picker=pickers.AtLeast(delta),
        source="training+pass",
    )
