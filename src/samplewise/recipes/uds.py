"""UDS: rows with large logits that differ from what was trained on last (arXiv:2510.16882)."""

from typing import Annotated

from samplewise import matrices, pickers, trackers
from samplewise.checks import Range
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe
from samplewise.schedules import Schedule

__all__ = ["uds"]


@recipe(paper="arXiv:2510.16882", level="batch", source="training")
def uds(
    keep: Keep = 0.5,
    alpha: Annotated[float | Schedule, Range(0)] = 1.0,
    history: Annotated[int, Range(1, 65_536)] = 1024,
    width: Annotated[int, Range(1)] = 128,
    depth: Annotated[int, Range(1)] = 8,
    length: Annotated[int, Range(1)] = 512,
) -> Policy:
    """Back-propagate the rows of every meta-batch with the largest logits, and far from recent choices.

    The score is the nuclear norm of a sample's logits plus `alpha` times the mean distance of their random
    projection z to the projections of the last `history` chosen samples. For logits (b, t, c) of t tokens the
    nuclear norm is the sum of the singular values of (t, c). For those of a classifier, (b, c), it is their
    Euclidean norm. Give zeros for the tokens that only pad a sequence.

    `alpha`, `width`, `depth`, `history` and `length` are the paper's alpha, d_1, d_2, M and N. z has
    `width` x `depth` numbers. If a classifier has at most `width` classes, z is its logits, and distances
    are exact. `length` is the largest number of tokens. The paper tunes alpha for each model and data set;
    1 is our default. An alpha of the official code is for its own scale of z: multiply it by
    sqrt(c * length) / 2. The paper's optional distance inside the batch is not used, as in the code.

    Every process keeps the projections of its own choices, and compares its own batches with them. With
    `Scoring(every=k)` the stored scores choose, and the history waits.

    The method is for fine-tuning language models. On images (the study `recent`, a small network, 10 seeds)
    it was 2.5 points worse than full training of the same cost.

    Signal: nuclear norm and projection of the logits. Memory: 4 bytes a sample, 4 more in each process for
    its own distances, and 8 z + 8 for each of `history` projections of z numbers. Choice: top-k.
    Cost: one scoring forward over every meta-batch, and the singular values of its logits.
    """
    return Policy(
        signal=(matrices.nuclear_norm, matrices.Projection(width, depth, length)),
        tracker=trackers.Novelty(alpha, history),
        batch_picker=pickers.TopK(keep),
        source="training",
    )
