"""How often a sample is learned and forgotten again (arXiv:1812.05159)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range
from samplewise.policy import Policy, recipe

__all__ = ["forgetting"]


@recipe(paper="arXiv:1812.05159", level="static", source="training")
def forgetting(
    keep: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    never: Literal["inf", "zero", "epochs"] = "inf",
    balance: bool = False,
) -> Policy:
    """Keep the samples that fell from right to wrong most often.

    A sample that was never right scores +inf and is kept first. The paper's code gives it the number
    of `epochs`; later code leaves it at `zero`, so that it looks as easy as one never forgotten.

    Signal: whether the prediction is right. Memory: 4 bytes a sample when final, 7 while recording.
    Choice: top-k. Cost: no forward beyond a training on everything.
    """
    inner = pickers.TopK(keep)
    return Policy(
        signal=signals.correct,
        tracker=trackers.Forgotten(never),
        picker=pickers.PerClass(inner) if balance else inner,
        source="training",
        final="end",
    )
