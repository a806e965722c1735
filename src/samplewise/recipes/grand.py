"""GraNd: the gradient norm of every sample, early in training (arXiv:2107.07075)."""

from typing import Annotated, Literal

from samplewise import pickers, signals, trackers
from samplewise.checks import Range, Share
from samplewise.policy import Policy, recipe
from samplewise.recipes.el2n import MODELS

__all__ = ["grand"]


@recipe(paper="arXiv:2107.07075", level="static", source="pass", hints={"models": MODELS})
def grand(
    keep: Share = 0.5,
    at: Annotated[int, Range(0)] = 1,
    layer: Literal["last", "full"] = "last",
    bias: bool = True,
    balance: bool = False,
) -> Policy:
    """Keep the samples with the largest gradient after `at` epochs of training, in eval mode.

    `layer="last"` is the closed form for cross-entropy in the last layer, ||p - e_y|| sqrt(||h||^2 + 1),
    or ||p - e_y|| ||h|| with `bias=False`. Forward must return logits, targets and features.
    `layer="full"` is the norm over all parameters, of any loss that forward returns. It uses per-sample
    gradients (`samplewise.loop.gradients`) and ignores `bias`.

    The paper takes the mean over 10 models: train 10 times with `samplewise score --runs 10`, or combine the
    tables of 10 trainings with `ScoreTable.combine`. The gradient is that of each sample's own loss. A
    gradient of a batch's mean loss would be larger in the last, smaller batch.

    Signal: gradient norm. Memory: 4 bytes a sample. Choice: top-k.
    Cost: one forward over all n samples; with `layer="full"` one forward and one backward of each.
    """
    closed = signals.grand if bias else signals.grand_without_bias
    return Policy(
        signal=closed if layer == "last" else signals.gradient_norm,
        tracker=trackers.Last(),
        picker=pickers.TopK(keep).balanced(balance),
        source="pass",
        final=at,
    )
