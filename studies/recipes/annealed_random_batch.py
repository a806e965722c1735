"""A random share of every batch, with the annealing of Evolved Sampling: the control for its `anneal`."""

from samplewise import pickers
from samplewise.policy import Policy
from samplewise.schedules import Annealed


def annealed_random_batch(keep: float = 0.25, anneal: float = 0.05) -> Policy:
    """Train on a uniform `keep` share of every meta-batch, and on all of it at both ends of the training."""
    return Policy(batch_picker=pickers.Uniform(Annealed(keep, share=anneal)))
