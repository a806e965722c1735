"""Sampling in proportion to the loss inside every batch: the `Loss` baseline of Evolved Sampling."""

from samplewise import pickers, signals, trackers
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe

__all__ = ["loss_sampling"]


@recipe(paper="arXiv:1803.00942", level="batch", source="training")
def loss_sampling(keep: Keep = 0.25) -> Policy:
    """Draw `keep` of every meta-batch without replacement, P ~ loss, and do not reweight.

    Evolved Sampling compares itself with this form. The original method (Katharopoulos and Fleuret) draws
    with replacement and reweights: see `importance_sampling`.

    Signal: loss. Memory: 4 bytes a sample. Choice: weighted draw.
    Cost: one scoring forward over every meta-batch.
    """
    return Policy(
        signal=signals.loss,
        tracker=trackers.Last(),
        batch_picker=pickers.Weighted(keep),
        source="training",
    )
