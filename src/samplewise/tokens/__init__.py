"""Language models: losses by token, which tokens carry a loss, and the losses of a reference model."""

from samplewise.tokens.choice import RandomTokens, TokenChoice, TopTokens
from samplewise.tokens.outputs import LanguageModel, language_model, token_outputs
from samplewise.tokens.reference import Reference, ReferenceLosses

__all__ = [
    "LanguageModel",
    "RandomTokens",
    "Reference",
    "ReferenceLosses",
    "TokenChoice",
    "TopTokens",
    "language_model",
    "token_outputs",
]
