"""Per-sample losses of the models that the Trainer knows how to train, equal to the loss it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss, ForSequenceClassificationLoss

from samplewise.data.outputs import Outputs

__all__ = [
    "CausalLM",
    "Classes",
    "Head",
    "Own",
    "PerSampleLoss",
    "Seen",
    "base_of",
    "head_of",
    "sequence_losses",
]

PerSampleLoss = Callable[[Any, dict[str, Any]], Tensor | Outputs]
"""Of a model's outputs and its inputs: losses (b,), or `Outputs` where the divisor is another than b."""

IGNORED = -100
"""The label of tokens that are not trained on, everywhere in transformers."""


@dataclass(frozen=True)
class Seen:
    """What a forward pass showed of k rows."""

    outputs: Outputs
    tokens: Int[Tensor, " k"] | None = None
    """Trained tokens of each row, where the training loss is a mean over tokens and not over rows."""
    raw: Any = None
    """What the model returned."""
    own: Tensor | None = None
    """The model's own loss of these rows, where it was asked for one."""


@runtime_checkable
class Head(Protocol):
    """Runs a model on a batch and tells the loss of each row."""

    by_tokens: bool

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen: ...


class Classes:
    """Sequence (image, audio, ...) classification, regression and multi-label classification."""

    by_tokens = False

    def __init__(self, config: Any, smoothing: float) -> None:
        self.config, self.smoothing = config, smoothing

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """Losses in float32; logits and targets where there is one class a row."""
        # Without labels the model does not compute its own mean of what is computed here.
        raw = model(**_without_labels(inputs))
        return self._read(raw, _logits(raw), _labels(inputs))

    def trained(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """As a call, with the model's own loss beside, so that every batch can be held against it."""
        if self.smoothing:  # the Trainer's own loss, in which the model has no part
            return self(model, inputs)
        raw = model(**inputs)
        own, logits = (raw.get("loss"), raw["logits"]) if isinstance(raw, Mapping) else raw[:2]
        return replace(self._read(raw, logits, _labels(inputs)), own=own)

    def _read(self, raw: Any, given: Tensor, labels: Tensor) -> Seen:
        logits, problem, classes = given.float(), self._problem(labels), self.config.num_labels
        if problem == "regression":
            squares = (logits.view(len(logits), -1) - labels.view(len(labels), -1)).square()
            return Seen(Outputs(loss=squares.mean(1)), raw=raw)
        if problem == "multi_label_classification":
            terms = F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none")
            return Seen(Outputs(loss=terms.mean(1)), raw=raw)
        targets = labels.view(-1)
        logits = logits.view(-1, classes)
        losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)
        return Seen(Outputs(loss=losses, logits=logits.detach(), targets=targets), raw=raw)

    def ignores(self, labels: Any) -> bool:
        """Whether rows of label -100 count in no mean: where a row has one class."""
        return isinstance(labels, Tensor) and self._problem(labels) == "single_label_classification"

    def _problem(self, labels: Tensor) -> str:
        """The kind of problem, told or inferred as the models do it."""
        if (told := self.config.problem_type) is not None:
            return str(told)
        if self.config.num_labels == 1:
            return "regression"
        whole = not labels.is_floating_point()
        return "single_label_classification" if whole else "multi_label_classification"


class CausalLM:
    """A causal language model: each sequence's mean over its trained tokens."""

    by_tokens = True

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """Losses in float32; a sequence without a trained token has loss 0."""
        if "shift_labels" in inputs:
            raise ValueError("batches with shift_labels mix sequences in a row: use a collator that pads.")
        raw = model(**_without_labels(inputs))
        losses, tokens = sequence_losses(_logits(raw), _labels(inputs), self.smoothing)
        return Seen(Outputs(loss=losses), tokens, raw)


class Own:
    """The user's function of a model's outputs and its inputs."""

    by_tokens = False

    def __init__(self, per_sample_loss: PerSampleLoss) -> None:
        self.per_sample_loss = per_sample_loss

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """Losses as the function gives them; the front door checks their shape."""
        raw = model(**inputs)
        found = self.per_sample_loss(raw, inputs)
        return Seen(found if isinstance(found, Outputs) else Outputs(loss=found), raw=raw)


def sequence_losses(
    logits: Float[Tensor, "k t v"], labels: Int[Tensor, "k t"], smoothing: float = 0.0
) -> tuple[Float[Tensor, " k"], Int[Tensor, " k"]]:
    """Mean loss over the trained tokens of each sequence, and their number; 0 and 0 where there are none."""
    logits, targets = logits[:, :-1].float(), labels[:, 1:]
    terms = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        targets.reshape(-1),
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    ).view_as(targets)
    tokens = targets.ne(IGNORED).sum(1)
    return terms.sum(1) / tokens.clamp(min=1), tokens


def base_of(model: nn.Module) -> nn.Module:
    """The model inside adapters such as LoRA's."""
    inside = getattr(model, "get_base_model", None)
    return inside() if callable(inside) else model


def head_of(model: nn.Module, smoothing: float) -> Head | None:
    """The per-sample losses of a transformers model whose loss is known; None for others."""
    base = base_of(model)
    config = getattr(base, "config", None)
    known = LOSS_MAPPING.get(getattr(base, "loss_type", None) or _kind(base))
    # A loss that the user put in its place, or a term for the balance of experts, would be lost.
    if config is None or known is None or getattr(base, "loss_function", known) is not known:
        return None
    if known is ForSequenceClassificationLoss:
        return Classes(config, smoothing)
    text = config.get_text_config()
    balanced = getattr(text, "output_router_logits", False)
    if known is ForCausalLMLoss and not config.is_encoder_decoder and not balanced:
        return CausalLM(smoothing)
    return None


def _kind(base: nn.Module) -> str:
    """The loss of the older names, such as GPT2LMHeadModel; their own loss is compared before it counts."""
    return "ForCausalLM" if type(base).__name__.endswith("LMHeadModel") else ""


def _without_labels(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "labels"}


def _labels(inputs: Mapping[str, Any]) -> Tensor:
    found = inputs.get("labels")
    if not isinstance(found, Tensor):
        raise ValueError(
            f"the batches have no labels, only {', '.join(sorted(inputs))}: name the column labels, or give "
            "per_sample_loss."
        )
    return found


def _logits(raw: Any) -> Tensor:
    found = raw["logits"] if isinstance(raw, Mapping) else raw[0]
    if not isinstance(found, Tensor):
        raise TypeError(f"the model's logits must be a tensor, got {type(found).__name__}.")
    return found
