"""The tokens with the largest loss in every batch, without a reference."""

from samplewise.policy import Policy, recipe
from samplewise.tokens import TopTokens
from samplewise.tokens.choice import PER_PROCESS, KeepTokens

__all__ = ["token_topk"]


@recipe(paper="-", level="token", source="none", exempt=PER_PROCESS)
def token_topk(keep: KeepTokens = 0.6) -> Policy:
    """Train on the `keep` share of the tokens of every batch with the largest loss.

    This is `rho_tokens` without its reference. The training forward gives the losses. Equal losses are
    ordered by row, then by position.

    Signal: none. Memory: 0 bytes a sample. Choice: top-k of the tokens of the batch.
    Cost: that of full training. All tokens are in the forward and in the backward.
    """
    return Policy(token_choice=TopTokens(keep))
