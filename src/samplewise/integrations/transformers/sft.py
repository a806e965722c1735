"""TRL's SFTTrainer: its fused language-model head gives log-probabilities and no logits."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from samplewise.data.outputs import Outputs
from samplewise.integrations.transformers.heads import Seen

__all__ = ["FusedLM", "Heard", "is_sft", "refuse_sft"]


class FusedLM:
    """Per-sequence losses from the log-probabilities that TRL computes."""

    by_tokens = True

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """A forward of its own, as scoring wants it."""
        return self.read(model(**{**inputs, "use_cache": False}, fused_lm_head=True))

    def read(self, raw: Any) -> Seen:
        """What a forward that TRL made tells of each sequence."""
        tokens = raw.label_mask.flatten(1).sum(1)
        losses = -raw.log_probs.float().flatten(1).sum(1) / tokens.clamp(min=1)
        return Seen(Outputs(loss=losses), tokens, raw)


class Heard:
    """A model that keeps what it returned last, handed to TRL so that its metrics stay its own."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.raw = model, None

    def __call__(self, **inputs: Any) -> Any:
        self.raw = self.model(**inputs)
        return self.raw


_FUSES = "add_fused_lm_head"
"""What TRL patches a model with to return log-probabilities, not logits: since 1.15, on a CPU since 1.16."""


def is_sft(owner: type) -> bool:
    """Whether a class is TRL's SFTTrainer, asked without importing TRL."""
    return owner.__name__ == "SFTTrainer" and owner.__module__.partition(".")[0] == "trl"


def refuse_sft(args: Any, trainer: Any) -> str | None:
    """What of an SFTTrainer's settings selection cannot follow, and the way out; None if all is well.

    Raises:
        ImportError: for a version of TRL that does not compute the log-probabilities read here.
    """
    if not any(
        is_sft(kind) and hasattr(sys.modules[kind.__module__], _FUSES) for kind in type(trainer).__mro__
    ):
        raise ImportError("samplewise needs trl >= 1.16 for SFTTrainer: pip install -U trl")
    if args.packing:
        return "packing=True puts several samples into one row: set SFTConfig(packing=False)."
    if args.padding_free:
        return (
            "padding_free=True joins all samples of a batch into one row: set SFTConfig(padding_free=False)."
        )
    if args.loss_type != "nll":
        return f"loss_type={args.loss_type!r} is not the mean of the tokens' losses: set loss_type='nll'."
    if args.label_smoothing_factor:
        return "label_smoothing_factor is deprecated in SFTTrainer and not followed here: set it to 0."
    if getattr(trainer, "aux_loss_enabled", False):
        return "the loss for the balance of experts belongs to no sample: set router_aux_loss_coef=0."
    return None
