"""AlignPrune: random pruning of samples whose losses do not follow those of clean ones (arXiv:2604.07306)."""

from pathlib import Path
from typing import Annotated

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe
from samplewise.recipes.fixed import given_subset
from samplewise.schedules import Between, Schedule
from samplewise.subset import Subset

__all__ = ["alignprune"]

_BY_LOSS = "the law takes the samples below the mean loss, and here the alignment decides"
_EXEMPT = dict.fromkeys(("budget_is_met", "ranks_choose_as_many_rows_as_asked"), _BY_LOSS)


@recipe(paper="arXiv:2604.07306", level="epoch", source="training", exempt=_EXEMPT)
def alignprune(
    keep: Annotated[float | Schedule, Range(0.1, 1)] = 0.5,
    window: Annotated[int | None, Range(3)] = None,
    until: Annotated[float, Range(0, 1)] = 0.875,
    reference: Subset | str | Path | None = None,
) -> Policy:
    """InfoBatch by alignment: drop a random part of the samples whose losses follow the reference least.

    The score of a sample (the paper's DAS) is the Pearson correlation of its losses in the last `window`
    epochs (N) with the mean losses of the `reference`, samples with right labels. It takes the place of the
    loss in `infobatch`: of the samples below the mean score the share `keep` trains, with weight low / kept,
    and from the share `until` of the epochs on all train. In the first `window` epochs the score is the loss.
    `window=None` is 10, as in the paper, but at most a third of the training.

    The reference is a `Subset` of the training data, or the Parquet file of one; the weights are not used,
    and what choosing it cost is charged to the ledger. The paper's reference is a small clean set. Without
    one, the mean is over all samples: that is not the paper's. The method was taken from a summary of the
    paper. Its full text was not read, and its code was not available. What they do with epochs in which a
    sample was dropped is not known: here such an epoch does not count for the sample.

    Signal: loss. Memory: 4 K + 4 bytes a sample. Choice: random among those below the mean.
    Cost: no forward beyond training.
    """
    clean = None if reference is None else given_subset("alignprune", reference, "reference")
    return Policy(
        signal=signals.loss,
        tracker=trackers.Alignment(clean, window),
        picker=pickers.BelowMean(Between(keep, outside=1.0, stop=until)),
        source="training",
    )
