"""The forward that scores in a Trainer."""

from __future__ import annotations

from typing import Any

from torch import nn

from samplewise.data.outputs import Outputs
from samplewise.integrations.transformers.heads import CausalLM, Head, Own, one_packed_row
from samplewise.integrations.transformers.sft import FusedLM
from samplewise.tokens.outputs import caches

__all__ = ["forward_of"]


def forward_of(head: Head, trainer: Any, model: nn.Module | None = None) -> Any:
    """The forward of scoring. It runs the unwrapped model, because no gradients are averaged.

    Args:
        head: gives the losses.
        trainer: gives the precision.
        model: another model with the same inputs, such as a small one that scores. None: the Trainer's.
    """
    if model is not None and isinstance(head, FusedLM):  # TRL has changed the forward of its own model only
        head = CausalLM(0.0, head.classes)

    def forward(inputs: Any) -> Outputs:
        given = dict(inputs)
        if model is not None and one_packed_row(inputs) and caches(model):  # the Trainer sets its own model
            given["use_cache"] = False
        with trainer.compute_loss_context_manager():
            return head(trainer.model if model is None else model, given).outputs

    given: Any = forward
    given.of = lambda other: forward_of(head, trainer, other)
    if not isinstance(head, Own):  # whose targets are not known
        known: Any = head
        given.targets, given.classes, given.by_tokens = known.targets, known.classes, known.by_tokens
    return given
