"""A random coreset: the control for every static method."""

from samplewise import pickers
from samplewise.checks import Share
from samplewise.policy import Policy, recipe

__all__ = ["random"]


@recipe(paper="-", level="static", source="none")
def random(keep: Share = 0.5, balance: bool = False) -> Policy:
    """Draw one uniform subset and train on it in every epoch.

    With `balance` the budget is divided among the classes in proportion to their sizes.

    Signal: none. Memory: 0 bytes a sample. Choice: uniform without replacement, once.
    Cost: no forward beyond training.
    """
    return Policy(picker=pickers.Uniform(keep).balanced(balance), final=0)
