"""Selection via proxy: a small model scores the samples for a large one (arXiv:1906.11829)."""

from typing import Literal

from samplewise.checks import Share
from samplewise.policy import Policy, recipe
from samplewise.recipes.entropy import entropy
from samplewise.recipes.forgetting import forgetting

__all__ = ["svp"]


@recipe(paper="arXiv:1906.11829", level="static", source="training")
def svp(
    keep: Share = 0.5,
    score: Literal["forgetting", "entropy"] = "forgetting",
    balance: bool = False,
) -> Policy:
    """Keep the samples that a small proxy model forgot most often, or is least certain of.

    The score is `forgetting` or `entropy`, recorded on the model that you train. Train a small model, or a
    large one for fewer epochs. Then train the large model on the subset (`recipes.fixed(subset)`). The
    provenance names the model that scored.

    Signal: that of `score`. Memory: 4 bytes a sample. Choice: top-k.
    Cost: the proxy's training, and for `entropy` one forward over all n samples.
    """
    measured = forgetting if score == "forgetting" else entropy
    policy: Policy = measured(keep=keep, balance=balance)
    return policy
