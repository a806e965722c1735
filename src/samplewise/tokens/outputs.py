"""`token_outputs` and `language_model`: the forward of a language model, with a loss for every token."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from samplewise import packed
from samplewise.data.outputs import Outputs

__all__ = [
    "IGNORED",
    "LanguageModel",
    "caches",
    "language_model",
    "only",
    "refuse_no_model",
    "token_outputs",
]

IGNORED = -100
"""The target of a position that has no token to predict."""


def token_outputs(
    logits: Float[Tensor, "r t v"], labels: Int[Tensor, "r t"], batch: Mapping[str, Any] | None = None
) -> Outputs:
    """The outputs of a language model that predicts the next token, with a loss for every token.

    The loss of position j is the cross-entropy of `logits[:, j]` and `labels[:, j + 1]`, in float32 and nats.
    A label -100 is no token. The loss of a row is the mean over its tokens, 0 if it has none: methods observe
    it. The loss that trains is the mean over the tokens of the batch.

    Where several sequences share a row, give the batch. The outputs then have a row for each sequence, as if
    the sequences were padded, and no token is predicted from another sequence.

    Args:
        logits: before the softmax.
        labels: token numbers, not shifted, as Hugging Face models take them.
        batch: has one of `sw.packed.MARKS` that shows where each sequence begins. None: each row is one
            sequence.

    Raises:
        ValueError: if the batch marks no sequences.

    >>> found = token_outputs(torch.zeros(1, 3, 2), torch.tensor([[0, 1, -100]]))
    >>> found.token_losses, found.token_targets
    (tensor([[0.6931, 0.0000]]), tensor([[   1, -100]]))
    """
    targets = labels[:, 1:]
    losses = F.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
    if batch is not None:
        losses, targets = packed.by_sequence(losses, {**batch, "labels": labels})
    tokens = targets.ne(IGNORED).sum(1)
    return Outputs(losses.sum(1) / tokens.clamp(min=1), token_losses=losses, token_targets=targets)


def only(outputs: Outputs, tokens: Bool[Tensor, "b t"]) -> Outputs:
    """The outputs with the sum of the losses of these tokens as the loss, and their number as the normalizer.

    So the reduced loss is the mean over the tokens. Losses of other positions get no gradient, not even NaN.
    """
    losses = outputs.token_losses
    if losses is None:
        raise ValueError("Outputs.token_losses must be given, got None.")
    if losses.dtype in (torch.float16, torch.bfloat16):
        losses = losses.float()
    sums = torch.where(tokens, losses, 0).sum(1)
    return replace(outputs, loss=sums, normalizer=tokens.sum(1), token_losses=None, token_targets=None)


class LanguageModel:
    """A forward for batches that are mappings with `labels`, as Hugging Face models take them.

    Made by `language_model`.
    """

    by_tokens = True

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, batch: Mapping[str, Any]) -> Outputs:
        """The model's logits of the other entries of the batch, and the losses of its labels."""
        labels = batch.get("labels") if isinstance(batch, Mapping) else None
        if not isinstance(labels, Tensor) or labels.ndim != 2:
            got = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
            way = "Write a forward that returns sw.token_outputs(logits, labels)."
            if isinstance(batch, Mapping) and labels is None:
                way = "Add `labels` in the data set or collate_fn: a copy of input_ids, -100 for padding."
            raise ValueError(
                "sw.language_model takes batches that are mappings with 'labels', a tensor (b, t) of token "
                f"numbers, got {got}. {way}"
            )
        given = {name: value for name, value in batch.items() if name != "labels"}
        shared = packed.shares_rows(batch)
        if shared and caches(self.model):
            given.setdefault("use_cache", False)
        return token_outputs(_logits(self.model(**given)), labels, batch if shared else None)

    def of(self, model: nn.Module) -> "LanguageModel":
        """The same forward of another model with the same tokens, such as a reference."""
        return LanguageModel(model)


def language_model(model: nn.Module) -> LanguageModel:
    """A forward for a causal language model: its batches are mappings with `input_ids`, `labels` and others.

    The model is called with all entries but `labels`. It returns logits (b, t, v), or an object or mapping
    that has them as `logits`.

    A batch may have rows of several sequences, with one of `sw.packed.MARKS`. The model must keep them apart.
    Models of transformers do so without an attention mask. They are called with `use_cache=False` then.
    """
    refuse_no_model("model", model)
    return LanguageModel(model)


def refuse_no_model(name: str, given: Any) -> None:
    """Raise if a model is no `torch.nn.Module`."""
    if not isinstance(given, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module, got {type(given).__name__}.")


def caches(model: nn.Module) -> bool:
    """Whether a model of transformers, perhaps in a wrapper such as DDP, uses a cache by default.

    With a cache, such models mix the sequences of a packed row.
    """
    while isinstance(inside := getattr(model, "module", None), nn.Module):
        model = inside
    return bool(getattr(getattr(model, "config", None), "use_cache", False))


def _logits(found: Any) -> Tensor:
    if isinstance(found, Mapping):
        found = found.get("logits")
    elif not isinstance(found, Tensor):
        found = getattr(found, "logits", found)
    if not isinstance(found, Tensor) or found.ndim != 3:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"the model must return logits of shape (b, t, v), alone or as `logits`, got {got}. Write a "
            "forward that returns sw.token_outputs(logits, labels)."
        )
    return found
