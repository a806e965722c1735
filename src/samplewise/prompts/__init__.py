"""`PromptSelector`: which prompts a reinforcement learning step rolls out (GRPO and its kin)."""

from samplewise.prompts.ledger import PromptLedger
from samplewise.prompts.selector import PromptSelector

__all__ = ["PromptLedger", "PromptSelector"]
