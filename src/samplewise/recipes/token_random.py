"""A random part of the tokens of every batch: the control for methods that choose tokens."""

from samplewise.policy import Policy, recipe
from samplewise.tokens import RandomTokens
from samplewise.tokens.choice import PER_PROCESS, KeepTokens

__all__ = ["token_random"]


@recipe(paper="-", level="token", source="none", exempt=PER_PROCESS)
def token_random(keep: KeepTokens = 0.6) -> Policy:
    """Train on the loss of a uniform `keep` share of the tokens of every batch.

    Compare every token-level method with this control. It separates the gain of the choice from the effect of
    fewer tokens with a loss.

    Signal: none. Memory: 0 bytes a sample. Choice: uniform without replacement.
    Cost: that of full training. All tokens are in the forward and in the backward.
    """
    return Policy(token_choice=RandomTokens(keep))
