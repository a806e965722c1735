"""Per-sample losses of transformers models. Their mean equals the loss that the Trainer computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.loss.loss_utils import LOSS_MAPPING, ForCausalLMLoss, ForSequenceClassificationLoss

from samplewise import packed
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
    "next_tokens",
    "of_tokens",
    "one_packed_row",
    "token_losses",
]

PerSampleLoss = Callable[[Any, dict[str, Any]], Tensor | Outputs]
"""A function of a model's outputs and inputs. Returns losses (b,), or `Outputs` if the divisor is not b."""

IGNORED = -100
"""The label that transformers uses for tokens that are not trained."""


@dataclass(frozen=True)
class Seen:
    """The results of a forward on k rows."""

    outputs: Outputs
    tokens: Int[Tensor, " k"] | None = None
    """Number of trained tokens of each row, if the training loss is a mean over tokens, not over rows."""
    raw: Any = None
    """The return value of the model."""
    own: Tensor | None = None
    """The model's own loss of these rows, if it computed one."""


@runtime_checkable
class Head(Protocol):
    """Runs a model on a batch and returns the loss of each row."""

    by_tokens: bool

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen: ...


class Classes:
    """Sequence (image, audio, ...) classification, regression and multi-label classification."""

    by_tokens = False

    def __init__(self, config: Any, smoothing: float) -> None:
        self.config, self.smoothing, self.classes = config, smoothing, config.num_labels

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """Compute losses in float32. If each row has one class, also return logits and targets."""
        # Without labels, the model does not compute the loss a second time.
        raw = model(**_without_labels(inputs))
        return self._read(raw, _logits(raw), _labels(inputs))

    def trained(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """As a call, but also return the model's own loss, to compare it with every batch."""
        if self.smoothing:  # the Trainer computes this loss itself, without the model
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

    def targets(self, inputs: dict[str, Any]) -> Tensor:
        """Return what a head on a layer learns: class numbers (b,), or numbers (b, outputs).

        Raises:
            ValueError: if a row has several classes.
        """
        labels = _labels(inputs)
        problem = self._problem(labels)
        if problem == "multi_label_classification":
            raise ValueError(
                "Scoring.at cannot be used where a row has several classes: its head learns one class or "
                "numbers. Leave out at."
            )
        return labels.view(len(labels), -1).float() if problem == "regression" else labels.view(-1)

    def ignores(self, labels: Any) -> bool:
        """Return whether rows with label -100 are left out of the mean. True if each row has one class."""
        return isinstance(labels, Tensor) and self._problem(labels) == "single_label_classification"

    def _problem(self, labels: Tensor) -> str:
        """The problem type, from the configuration or inferred in the same way as the models do."""
        if (configured := self.config.problem_type) is not None:
            return str(configured)
        if self.config.num_labels == 1:
            return "regression"
        whole = not labels.is_floating_point()
        return "single_label_classification" if whole else "multi_label_classification"


class CausalLM:
    """A causal language model. The loss of a sequence is the mean over its trained tokens."""

    by_tokens = True

    def __init__(self, smoothing: float, classes: int) -> None:
        self.smoothing, self.classes = smoothing, classes

    def targets(self, inputs: dict[str, Any]) -> Tensor:
        """Return the token that each position predicts (b, tokens). -100: none."""
        return next_tokens(inputs)

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """Compute losses in float32. A sequence without trained tokens has loss 0."""
        if "shift_labels" in inputs:
            raise ValueError(
                "labels must not be shifted, but the batches have shift_labels. Use a collator that pads, or "
                "transformers.DataCollatorWithFlattening."
            )
        raw = model(**_without_labels(inputs))
        return of_tokens(token_losses(_logits(raw), _labels(inputs), self.smoothing), inputs, raw)


class Own:
    """Losses by the user's function of the model's outputs and inputs."""

    by_tokens = False

    def __init__(self, per_sample_loss: PerSampleLoss) -> None:
        self.per_sample_loss = per_sample_loss

    def __call__(self, model: nn.Module, inputs: dict[str, Any]) -> Seen:
        """Return the losses of the function. The Selector checks their shape."""
        raw = model(**inputs)
        found = self.per_sample_loss(raw, inputs)
        return Seen(found if isinstance(found, Outputs) else Outputs(loss=found), raw=raw)


def token_losses(
    logits: Float[Tensor, "r t v"], labels: Int[Tensor, "r t"], smoothing: float = 0.0
) -> Float[Tensor, "r u"]:
    """Return the loss of each token after the first of its row, 0 if it is not trained. u = t - 1."""
    logits, targets = logits[:, :-1].float(), labels[:, 1:]
    terms = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        targets.reshape(-1),
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    )
    return terms.view_as(targets)


def of_tokens(losses: Float[Tensor, "r u"], inputs: Mapping[str, Any], raw: Any) -> Seen:
    """Return the results for sequences: the mean over the trained tokens of each. It is 0 without any.

    Args:
        losses: of each token after the first of its row, 0 if it is not trained. u = t - 1.
        inputs: has `labels` (r, t). A row may hold several sequences.
        raw: the return value of the model.
    """
    targets = inputs["labels"][:, 1:]
    if one_packed_row(inputs):
        losses, targets = packed.by_sequence(losses, inputs)
    tokens = targets.ne(IGNORED).sum(1)
    means = losses.sum(1) / tokens.clamp(min=1)
    return Seen(Outputs(loss=means, token_losses=losses, token_targets=targets), tokens, raw)


def next_tokens(inputs: Mapping[str, Any]) -> Int[Tensor, "k t"]:
    """Return the token that each position predicts. -100: none, as for the last position.

    Raises:
        ValueError: if the sequences share one row.
    """
    if one_packed_row(inputs):
        raise ValueError(
            "Scoring.at needs one sequence in each row, but packing joins them. Leave out at, or pad."
        )
    return F.pad(_labels(inputs)[:, 1:], (0, 1), value=IGNORED)


def one_packed_row(inputs: Mapping[str, Any]) -> bool:
    """Whether all sequences of a batch are in one row, as collators that flatten make it."""
    labels = inputs.get("labels")
    return isinstance(labels, Tensor) and len(labels) == 1 and any(name in inputs for name in packed.MARKS)


def base_of(model: nn.Module) -> nn.Module:
    """The base model inside adapters such as LoRA."""
    inside = getattr(model, "get_base_model", None)
    return inside() if callable(inside) else model


def head_of(model: nn.Module, smoothing: float) -> Head | None:
    """Return the head for a transformers model with a known loss, or None."""
    base = base_of(model)
    config = getattr(base, "config", None)
    known = LOSS_MAPPING.get(getattr(base, "loss_type", None) or _kind(base))
    # Return None if the user replaced the loss, or if there is an extra term such as load balancing of
    # experts.
    if config is None or known is None or getattr(base, "loss_function", known) is not known:
        return None
    if known is ForSequenceClassificationLoss:
        return Classes(config, smoothing)
    text = config.get_text_config()
    balanced = getattr(text, "output_router_logits", False)
    if known is ForCausalLMLoss and not config.is_encoder_decoder and not balanced:
        return CausalLM(smoothing, text.vocab_size)
    return None


def _kind(base: nn.Module) -> str:
    """The loss type of models with older names, such as GPT2LMHeadModel. The first batch is checked."""
    return "ForCausalLM" if type(base).__name__.endswith("LMHeadModel") else ""


def _without_labels(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "labels"}


def _labels(inputs: Mapping[str, Any]) -> Tensor:
    found = inputs.get("labels")
    if not isinstance(found, Tensor):
        raise ValueError(
            f"the batches must have a tensor 'labels', but they have {', '.join(sorted(inputs))}. Rename the "
            "column to labels, or set per_sample_loss."
        )
    return found


def _logits(raw: Any) -> Tensor:
    found = raw["logits"] if isinstance(raw, Mapping) else raw[0]
    if not isinstance(found, Tensor):
        raise TypeError(f"the model's logits must be a tensor, got {type(found).__name__}.")
    return found
