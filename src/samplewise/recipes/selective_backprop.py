"""Back-propagating a batch's rows by the rank of their loss among recent ones (arXiv:1910.00762)."""

from dataclasses import dataclass
from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule

__all__ = ["FromSecond", "selective_backprop"]


@dataclass(frozen=True)
class FromSecond(Schedule):
    """0 in the first epoch, `then` in all others; a training has at least two epochs.

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
                f"epochs must be at least 2 for selective_backprop, got {epochs}: its first epoch trains on "
                "everything, so it would select nothing."
            )
        return self


@recipe(
    paper="arXiv:1910.00762",
    level="batch",
    source="training",
    exempt={"one_rank_equals_two": "accepts each row by a draw of its own, so their number is not fixed"},
)
def selective_backprop(
    beta: Annotated[float | Schedule, Range(0)] = 3.0,
    history: Annotated[int, Range(1, 65_536)] = 1024,
    assemble: bool = False,
) -> Policy:
    """Accept each row of a meta-batch with probability P(l) ** beta; train on the plain mean of those.

    P(l) is the share of the last `history` losses, the batch's own included, that are strictly smaller than
    the row's. About 1 / (beta + 1) of the rows are accepted; where fewer than two are, those with the highest
    P(l) join them, equal ones in the order of the samples. The first epoch trains on everything, and its
    losses count among the last ones. Every process remembers the losses of its own batches.

    `assemble=True` is the paper's form: accepted samples wait until they fill a batch of `batch_size`. It
    needs our own loader, `selector.loss` and one process; see `samplewise.loop.waiting` for what it costs.
    With `Selector(scoring=Scoring(every=k))` losses are reused for k epochs (the paper's StaleSB): remembered
    losses choose, and what the chosen rows show in training is not taken among the last ones.

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
