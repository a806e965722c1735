"""EL2N: the distance of early predictions from the labels (arXiv:2107.07075)."""

from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe

__all__ = ["MODELS", "el2n"]

MODELS = (
    "One training has one model. For the mean over 10 models, train 10 times and combine the tables: "
    "samplewise score --runs 10, or ScoreTable.combine(tables)."
)
"""What to do instead of `models=10`."""

_PUBLISHED = 10


@recipe(paper="arXiv:2107.07075", level="static", source="training", hints={"models": MODELS})
def el2n(
    keep: Share = 0.5,
    first: Annotated[int | None, Range(1)] = None,
    balance: bool = False,
    at: Annotated[int | None, Range(0)] = None,
) -> Policy:
    """Keep the samples whose predictions were far from their labels early in training.

    The score is the mean over the `first` epochs of one run, as later papers use it. The default is 10
    epochs, or all epochs of a shorter training. `at=20` is the form of the paper itself: one pass in eval
    mode over all samples after 20 epochs. The paper takes the mean over 10 models: train 10 times with
    `samplewise score --runs 10`, or combine the tables of 10 trainings with `ScoreTable.combine`. Wrong
    labels get high scores.

    Signal: ||p - e_y||. Memory: 4 bytes a sample when final, 12 while recording (4 with `at`).
    Choice: top-k. Cost: no forward beyond the `first` epochs of a training on everything; with `at` one
    forward over all n samples.
    """
    if at is not None:
        if first is not None:
            raise ValueError(
                f"el2n takes first or at, got first={first} and at={at}. first=10 is a mean over epochs of "
                "training, at=20 is one pass after 20 epochs."
            )
        return Policy(
            signal=signals.el2n,
            tracker=trackers.Last(),
            picker=pickers.TopK(keep).balanced(balance),
            source="pass",
            final=at,
        )
    return Policy(
        signal=signals.el2n,
        tracker=trackers.Mean(first, most=_PUBLISHED),
        picker=pickers.TopK(keep).balanced(balance),
        source="training",
        final="end",
    )
