"""Building a language model from random weights."""

import torch
from torch import nn

from samplewise.bench.language.fits import Sizes
from samplewise.checks import require

__all__ = ["build"]


def build(sizes: Sizes, tokens: int, longest: int, seed: int) -> nn.Module:
    """A `LlamaForCausalLM` of transformers. Its weights depend on `seed` only; the global RNG is kept.

    The embeddings are the last layer, too: with few parameters, two tables of tokens would be most of them.

    Args:
        sizes: of the model.
        tokens: of the vocabulary.
        longest: the most tokens of a row.
        seed: of the weights.
    """
    transformers = require("transformers", "transformers")
    config = transformers.LlamaConfig(
        vocab_size=tokens,
        hidden_size=sizes.width,
        intermediate_size=sizes.feed_forward,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        max_position_embeddings=longest,
        tie_word_embeddings=True,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        made: nn.Module = transformers.LlamaForCausalLM(config)
    return made
