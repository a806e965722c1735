"""The entropy of the final model's prediction."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe

__all__ = ["entropy"]


@recipe(paper="arXiv:1906.11829", level="static", source="pass")
def entropy(
    keep: Share = 0.5,
    at: Annotated[int | Literal["end"], Range(0)] = "end",
    balance: bool = False,
) -> Policy:
    """Keep the samples with the highest entropy of the prediction (0 ln 0 = 0).

    Published with the model at the end of a full run, `at="end"`. A number makes the pass before that epoch.
    Some code adds 1e-10 or 1e-6 inside the logarithm. Some code keeps the lowest entropies when it does not
    choose by class. This recipe does neither.

    Signal: entropy. Memory: 4 bytes a sample. Choice: top-k.
    Cost: one forward over all n samples.
    """
    return Policy(
        signal=signals.entropy,
        tracker=trackers.Last(),
        picker=pickers.TopK(keep).balanced(balance),
        source="pass",
        final=at,
    )
