"""GradMatch: weighted samples whose last-layer gradients sum to those of their class (arXiv:2103.00123)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.recipes.craig import warmed_up

__all__ = ["gradmatch", "gradmatch_dynamic"]


@recipe(paper="arXiv:2103.00123", level="static", source="pass")
def gradmatch(
    keep: Share = 0.5,
    at: Annotated[int | Literal["end"], Range(0)] = "end",
    lam: Annotated[float, Range(0, open_low=True)] = 0.5,
    eps: Annotated[float, Range(0)] = 1e-4,
    block: Annotated[int, Range(2)] = 8192,
) -> Policy:
    """In each class, pick samples whose weighted gradients match the sum of the class's gradients.

    The method is orthogonal matching pursuit with weights >= 0 and ridge `lam`. It stops early when the
    residual is below `eps` times the sum, or when no gradient points towards the residual. Random samples
    with weight 1 then fill the budget, as in CORDS. A pick whose weight becomes 0 is removed and replaced.
    Weights are divided by their mean. Classes with more than `block` samples are split at random.

    Signal: residual and features. Memory: 4 C + 4 d + 12 bytes a sample.
    Choice: greedy; the column is minus the order of picking, so one recording serves every smaller `keep`.
    Cost: one forward over all n samples, all products inside each class, and O(k n) for pick k of a
    class of n.
    """
    return Policy(
        signal=(signals.residual, signals.features, signals.target),
        tracker=trackers.Last(),
        picker=pickers.MatchingPursuit(keep, lam=lam, eps=eps, block=block),
        source="pass",
        final=at,
    )


@recipe(paper="arXiv:2103.00123", level="epoch", source="pass")
def gradmatch_dynamic(
    keep: Keep = 0.5,
    period: Annotated[int, Range(1)] = 10,
    lam: Annotated[float, Range(0, open_low=True)] = 0.5,
    eps: Annotated[float, Range(0)] = 1e-4,
    block: Annotated[int, Range(2)] = 8192,
    fit: bool = False,
) -> Policy:
    """As `gradmatch`, but choose again every `period` epochs with the current model.

    The first period trains on all samples (warm-up). So a training needs at least two periods. `keep` is the
    share of the later periods, and the warm-up comes on top. With `fit=True`, `keep` is the average over the
    training, the warm-up included, as for `dynams`: compare the two like that.

    Signal: residual and features. Memory: 4 C + 4 d + 4 bytes a sample. Choice: greedy.
    Cost: one forward over all n samples, and all products inside each class, every period but the first.
    """
    return Policy(
        signal=(signals.residual, signals.features, signals.target),
        tracker=trackers.Last(),
        picker=pickers.MatchingPursuit(warmed_up(keep, period, fit), lam=lam, eps=eps, block=block),
        every=period,
        source="pass",
    )
