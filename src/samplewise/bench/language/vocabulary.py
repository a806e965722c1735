"""`Vocabulary`: the tokens of a language model, pairs of bytes that come often in its training texts."""

import hashlib
from functools import cached_property
from typing import Any

from samplewise.checks import require

__all__ = ["END", "Vocabulary"]

END = 0
"""The token at the begin and at the end of every text. It also fills rows, where it carries no loss."""
_WORD = "<end>"


class Vocabulary:
    """Byte-pair tokens. All bytes are among them, so no text has an unknown token.

    They are trained by `tokenizers` on the training texts, which takes a second. The same texts give the same
    tokens: equal counts are ordered by the numbers of the tokens.

    Args:
        texts: of the training split.
        size: number of tokens. Few texts may give fewer.
    """

    def __init__(self, texts: list[str], size: int) -> None:
        tokenizers = require("tokenizers", "transformers")
        bytes_of, text_of = tokenizers.pre_tokenizers.ByteLevel, tokenizers.decoders.ByteLevel
        self._made: Any = tokenizers.Tokenizer(tokenizers.models.BPE())
        self._made.pre_tokenizer = bytes_of(add_prefix_space=True)
        self._made.decoder = text_of()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[_WORD],
            initial_alphabet=sorted(bytes_of.alphabet()),
            show_progress=False,
        )
        self._made.train_from_iterator(texts, trainer)

    def __len__(self) -> int:
        size: int = self._made.get_vocab_size()
        return size

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tokens and of the pairs that make them, in hexadecimal digits."""
        return hashlib.sha256(self._made.to_str().encode()).hexdigest()

    def tokenizer(self, longest: int) -> Any:
        """The same as a tokenizer of transformers. It adds no tokens at the ends of a text.

        Args:
            longest: the most tokens of a row.
        """
        made: Any = require("transformers", "transformers").PreTrainedTokenizerFast
        ends = dict.fromkeys(("bos_token", "eos_token", "pad_token"), _WORD)
        return made(tokenizer_object=self._made, model_max_length=longest, **ends)

    def rows(self, texts: list[str], longest: int) -> list[list[int]]:
        """The tokens of each text, with `END` before and after it. Longer rows are cut at their end.

        Args:
            texts: any texts. One that spells `END` out gets that token.
            longest: the most tokens of a row.
        """
        return [[END, *found.ids, END][:longest] for found in self._made.encode_batch(texts)]
