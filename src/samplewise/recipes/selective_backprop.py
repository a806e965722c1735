"""Selective-Backprop: train on rows by the rank of their loss among recent losses (arXiv:1910.00762)."""

from dataclasses import dataclass
from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule

__all__ = ["FromSecond", "selective_backprop"]


@dataclass(frozen=True)
class FromSecond(Schedule):
    """0 in the first epoch, `then` in all other epochs. A training needs at least two epochs.

    >>> [FromSecond(3.0).at(e, 3) for e in range(3)]
    [0.0, 3.0, 3.0]
    """

    then: float | Schedule

    def at(self, epoch: int, epochs: int) -> float:
        if epoch == 0:
            return 0.0
        return self.then.at(epoch, epochs) if isinstance(self.then, Schedule) else self.then

    def within(self, epochs: int) -> "FromSecond":
        if epochs < 2 and self.then != 0:
            raise ValueError(
                f"epochs must be at least 2 for selective_backprop, got {epochs}. The first epoch trains on "
                "every sample, so a training of one epoch would select nothing."
            )
        return self


@recipe(
    paper="arXiv:1910.00762",
    level="batch",
    source="training",
    exempt={"one_rank_equals_two": "each row is accepted by its own draw, so the number of rows varies"},
)
def selective_backprop(
    beta: Annotated[float | Schedule, Range(0)] = 3.0,
    history: Annotated[int, Range(1, 65_536)] = 1024,
    assemble: bool = False,
) -> Policy:
    """Accept each row of a meta-batch with probability P(l) ** beta; train on the plain mean of those.

    P(l) is the share of the last `history` losses, including this batch, that are strictly smaller than the
    row's loss. About 1 / (beta + 1) of the rows are accepted. If fewer than two are accepted, the rows with
    the highest P(l) are added; equal rows are added in the order of the samples. The first epoch trains on
    everything, and its losses go into the history. Every process keeps the history of its own batches.

    `assemble=True` is the paper's form: accepted samples wait until they fill a batch of `batch_size`. It
    needs the loader of samplewise, `selector.loss` and one process. `samplewise.loop.waiting` says what it
    costs. With `Selector(scoring=Scoring(every=k))` losses are reused for k epochs (the paper's StaleSB).
    Then the stored losses choose, and the losses of the training forward do not go into the history.

    Signal: loss. Memory: 4 bytes a sample, and 4 for each of the last `history` losses.
    Choice: a draw for each row. Cost: one scoring forward over every meta-batch after the first epoch.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Percentile(history),
        batch_picker=pickers.Accepted(FromSecond(beta)),
        source="training",
        assemble=assemble,
    )
