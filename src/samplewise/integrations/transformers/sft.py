"""TRL's SFTTrainer: its fused language-model head returns log-probabilities instead of logits."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn

from samplewise.integrations.transformers.heads import Seen, next_tokens, of_tokens
from samplewise.integrations.transformers.packing import packs

__all__ = ["FusedLM", "Heard", "is_sft", "refuse_sft"]


class FusedLM:
    """Losses of sequences from the log-probabilities that TRL computes."""

    by_tokens = True

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def targets(self, inputs: dict[str, Any]) -> Tensor:
        """Return the token that each position predicts (b, tokens). -100: none."""
        return next_tokens(inputs)

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """Run a forward, for scoring."""
        return self.read(model(**{**inputs, "use_cache": False}, fused_lm_head=True), inputs)

    def read(self, raw: Any, inputs: dict[str, Any]) -> Seen:
        """Compute the losses of tokens and sequences from the result of TRL's forward."""
        return of_tokens(-raw.log_probs.float(), inputs, raw)


class Heard:
    """A model that stores its last output. TRL runs it, so TRL's own metrics still work."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.raw = model, None

    def __call__(self, **inputs: Any) -> Any:
        self.raw = self.model(**inputs)
        return self.raw


_FUSES = "add_fused_lm_head"
"""TRL's function that makes a model return log-probabilities (since TRL 1.15; on a CPU since 1.16)."""


def is_sft(owner: type) -> bool:
    """Return whether a class is TRL's SFTTrainer, without importing TRL."""
    return owner.__name__ == "SFTTrainer" and owner.__module__.partition(".")[0] == "trl"


def refuse_sft(args: Any, trainer: Any) -> str | None:
    """Return the setting of an SFTTrainer that does not work with selection, and what to do, or None.

    Raises:
        ImportError: if TRL is too old.
    """
    if not any(
        is_sft(kind) and hasattr(sys.modules[kind.__module__], _FUSES) for kind in type(trainer).__mro__
    ):
        raise ImportError("samplewise needs trl >= 1.16 for SFTTrainer: pip install -U trl")
    if packs(args) and args.dataloader_drop_last:
        return "packed batches are never full, so dataloader_drop_last drops nothing. Set it to False."
    if (args.padding_free or packs(args)) and args.pad_to_multiple_of:
        return (
            "in rows of several sequences, pad_to_multiple_of adds tokens that look like sequences. Set "
            "SFTConfig(pad_to_multiple_of=None)."
        )
    if args.loss_type != "nll":
        return f"loss_type={args.loss_type!r} is not the mean over tokens. Set loss_type='nll'."
    if args.label_smoothing_factor:
        return "label_smoothing_factor is deprecated in SFTTrainer and not supported here. Set it to 0."
    if getattr(trainer, "aux_loss_enabled", False):
        return "the load-balancing loss of experts has no per-sample values. Set router_aux_loss_coef=0."
    return None
