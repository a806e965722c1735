"""Area under the margin, the hard end of it kept (arXiv:2001.10528)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe

__all__ = ["aum"]


@recipe(paper="arXiv:2001.10528", level="static", source="training")
def aum(
    keep: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    of: Literal["probability", "logit"] = "probability",
    balance: bool = False,
) -> Policy:
    """Keep the samples that were seldom predicted with a clear margin.

    The column is MINUS the mean over all epochs of (target - largest other): higher is harder, and
    rather kept. A low area also marks wrong labels, which is what the paper uses it for. The paper's
    margin is that of the logits; pruning papers take the `probability`, the default.

    Signal: minus the margin. Memory: 4 bytes a sample when final, 12 while recording.
    Choice: top-k. Cost: no forward beyond a training on everything.
    """
    inner = pickers.TopK(keep)
    return Policy(
        signal=signals.negative_margin if of == "probability" else signals.negative_logit_margin,
        tracker=trackers.Mean(),
        picker=pickers.PerClass(inner) if balance else inner,
        source="training",
        final="end",
    )
