"""Signals: pure functions that measure each sample of a forward pass.

A signal's parameters name what it needs of `Outputs`, so a policy can tell at the start what the
user's forward must return. `weight` and `bias` are the head's.
"""

import inspect
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise.outputs import Outputs

__all__ = [
    "confidence",
    "correct",
    "el2n",
    "entropy",
    "features",
    "gradient_norm",
    "grand",
    "grand_without_bias",
    "loss",
    "measure",
    "needs",
    "negative_logit_margin",
    "negative_margin",
    "probabilities",
    "residual",
    "target",
    "target_log_probability",
    "target_probability",
]

Signal = Callable[..., Tensor]


def loss(loss: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The per-sample training loss itself, before any weight."""
    return loss


def correct(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
    """Whether the most likely class is the target.

    >>> correct(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([1, 1]))
    tensor([ True, False])
    """
    return logits.argmax(1) == targets


def confidence(logits: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """The probability of the most likely class: the softmax is over classes.

    KAKURENBO's official code normalises over the batch instead, which is an error.

    >>> confidence(torch.tensor([[0.0, 0.0]]))
    tensor([0.5000])
    """
    return logits.softmax(1).amax(1)


def target_probability(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The probability the model gives to the target class.

    >>> target_probability(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([0.5000])
    """
    return logits.softmax(1).gather(1, targets[:, None]).squeeze(1)


def target_log_probability(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The logarithm of `target_probability`: minus the plain cross-entropy.

    >>> target_log_probability(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([-0.6931])
    """
    return logits.log_softmax(1).gather(1, targets[:, None]).squeeze(1)


def probabilities(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """The probability of every class."""
    return logits.softmax(1)


def el2n(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Distance between the predicted distribution and the one-hot target, in [0, sqrt 2].

    >>> el2n(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([0.7071])
    """
    distance: Tensor = torch.linalg.vector_norm(residual(logits, targets), dim=1)
    return distance


def negative_margin(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Probability of the likeliest other class minus the target's, in [-1, 1]: high where the model errs.

    >>> negative_margin(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([2]))
    tensor([-0.9996])
    """
    return _lead_of_others(logits.softmax(1), targets)


def negative_logit_margin(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Largest logit of another class minus the target's: high where the model errs.

    >>> negative_logit_margin(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([2]))
    tensor([-9.])
    """
    return _lead_of_others(logits, targets)


def _lead_of_others(values: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    index = targets[:, None]
    others = values.scatter(1, index, float("-inf")).amax(1)
    return others - values.gather(1, index).squeeze(1)


def entropy(logits: Float[Tensor, "b c"]) -> Float[Tensor, " b"]:
    """The entropy of the predicted distribution in nats, in [0, ln c]; 0 ln 0 is 0.

    >>> entropy(torch.tensor([[0.0, 0.0], [200.0, 0.0]]))
    tensor([0.6931, 0.0000])
    """
    terms: Tensor = torch.special.entr(logits.softmax(1))
    return terms.sum(1)


def residual(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, "b c"]:
    """P - e_y: the gradient of each sample's cross-entropy with respect to its logits.

    >>> residual(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([[ 0.5000, -0.5000]])
    """
    rows = torch.arange(len(targets), device=targets.device)
    found = logits.softmax(1)
    found[rows, targets] -= 1
    return found


def features(features: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
    """The input of the last layer, one flat vector a sample."""
    return features.reshape(len(features), -1)


def target(targets: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """The class number of each sample."""
    return targets


def grand(
    logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"], features: Float[Tensor, "b ..."]
) -> Float[Tensor, " b"]:
    """The norm of the gradient of each sample's cross-entropy in the last layer, weight and bias.

    Closed form: ||p - e_y|| sqrt(||h||^2 + 1) for features h.

    >>> grand(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), torch.tensor([[1.0, 1.0, 1.0]]))
    tensor([1.4142])
    """
    h = features.reshape(len(features), -1)
    errors: Tensor = torch.linalg.vector_norm(residual(logits, targets), dim=1)
    return errors * h.square().sum(1).add(1).sqrt()


def grand_without_bias(
    logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"], features: Float[Tensor, "b ..."]
) -> Float[Tensor, " b"]:
    """As `grand` for a last layer that has no bias: ||p - e_y|| ||h||."""
    h = features.reshape(len(features), -1)
    errors: Tensor = torch.linalg.vector_norm(residual(logits, targets), dim=1)
    return errors * h.square().sum(1).sqrt()


def gradient_norm(gradient_norm: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The norm of each sample's gradient over all parameters, as `samplewise.gradients.norms` gives it."""
    return gradient_norm


@cache
def needs(signal: Signal) -> tuple[str, ...]:
    """The names of what a signal reads: fields of `Outputs`, or `weight` and `bias` of its head.

    >>> needs(correct)
    ('logits', 'targets')
    """
    return tuple(inspect.signature(signal).parameters)


@torch.no_grad()
def measure(signals: tuple[Signal, ...], outputs: Outputs, owner: str) -> dict[str, Tensor]:
    """Each signal's values (b,) under its own name, detached, at least float32."""
    values = {}
    for signal in signals:
        given = {}
        for name in needs(signal):
            value = _field(outputs, name)
            if value is None and name != "bias":
                wanted = "head" if name in ("weight", "bias") else name
                raise ValueError(
                    f"{owner} needs {wanted}: return sw.Outputs(loss=..., {wanted}=...) from forward."
                )
            if value is not None and value.dtype in (torch.float16, torch.bfloat16):
                value = value.float()
            given[name] = None if value is None else value.detach()
        found = signal(**given)
        if found.shape[:1] != outputs.loss.shape or found.ndim > 2:
            raise ValueError(
                f"signal {signal.__name__} must return a value for each of {len(outputs.loss)} samples, "
                f"got shape {tuple(found.shape)}."
            )
        values[signal.__name__] = found
    return values


def _field(outputs: Outputs, name: str) -> Tensor | None:
    if name in ("weight", "bias"):
        return None if outputs.head is None else outputs.head[name == "bias"]
    value: Tensor | None = getattr(outputs, name)
    return value
