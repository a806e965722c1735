"""A random part of every batch: the control for methods at batch level."""

from samplewise import pickers
from samplewise.pickers import Keep
from samplewise.policy import Policy, recipe

__all__ = ["random_batch"]


@recipe(paper="-", level="batch", source="none")
def random_batch(keep: Keep = 0.25) -> Policy:
    """Train on a uniform `keep` share of the rows of every meta-batch.

    Compare every batch-level method with this control. It separates the gain of the choice from the effect
    of training on fewer samples.

    Signal: none. Memory: 0 bytes a sample. Choice: uniform without replacement.
    Cost: no forward beyond training.
    """
    return Policy(batch_picker=pickers.Uniform(keep))
