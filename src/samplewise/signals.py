"""Signals: pure functions that measure each sample of a forward.

A signal's parameters name what it needs of `Outputs`, so a policy can tell at the start what the
user's forward must return. `weight` and `bias` are the head's.
"""

import inspect
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplewise.data.ids import in_classes
from samplewise.data.outputs import Outputs

__all__ = [
    "class_margins",
    "confidence",
    "correct",
    "el2n",
    "entropy",
    "error_probability",
    "features",
    "gradient_norm",
    "grand",
    "grand_without_bias",
    "logit_margin",
    "loss",
    "margins",
    "measure",
    "nearness",
    "needs",
    "negative_logit_margin",
    "negative_margin",
    "probabilities",
    "probability_margin",
    "residual",
    "signed_margins",
    "take_tokens",
    "target",
    "target_log_probability",
    "target_probability",
]

Signal = Callable[..., Tensor]

MAY_BE_INFINITE = frozenset({"margins", "signed_margins", "nearness"})
"""Signals that may be infinite: two classes with equal weights have no boundary."""

_POWER = 126
"""2 to this and to minus this are ordinary float32 numbers."""


def loss(loss: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The per-sample training loss itself, before any weight."""
    return loss


def error_probability(loss: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """1 - exp(-loss): for plain cross-entropy, the probability that the model gives to the other classes.

    The norm of the gradient at the logits, `el2n`, is between this and sqrt 2 times this. It has no such
    meaning under label smoothing, class weights or other losses.

    >>> error_probability(torch.tensor([0.0, 0.6931472]))
    tensor([0.0000, 0.5000])
    """
    return -torch.expm1(-loss)


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
    """Probability of the most likely other class minus the target's, in [-1, 1]: high if the model is wrong.

    >>> negative_margin(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([2]))
    tensor([-0.9996])
    """
    return _lead_of_others(logits.softmax(1), targets)


def negative_logit_margin(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Largest logit of another class minus the target's: high if the model is wrong.

    >>> negative_logit_margin(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([2]))
    tensor([-9.])
    """
    return _lead_of_others(logits, targets)


def probability_margin(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Minus `negative_margin`: high if the model is right."""
    return -negative_margin(logits, targets)


def logit_margin(logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Minus `negative_logit_margin`: high if the model is right."""
    return -negative_logit_margin(logits, targets)


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
    """The input of the last layer, as one flat vector a sample."""
    return _flat(features)


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
    h = _flat(features)
    errors: Tensor = torch.linalg.vector_norm(residual(logits, targets), dim=1)
    return errors * _lengths(h, added=1)


def grand_without_bias(
    logits: Float[Tensor, "b c"], targets: Int[Tensor, " b"], features: Float[Tensor, "b ..."]
) -> Float[Tensor, " b"]:
    """As `grand` for a last layer that has no bias: ||p - e_y|| ||h||."""
    h = _flat(features)
    errors: Tensor = torch.linalg.vector_norm(residual(logits, targets), dim=1)
    return errors * _lengths(h)


def gradient_norm(gradient_norm: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The norm of each sample's gradient over all parameters, as `loop.gradients.norms` gives it."""
    return gradient_norm


def class_margins(
    features: Float[Tensor, "b ..."],
    targets: Int[Tensor, " b"],
    weight: Float[Tensor, "c d"],
    bias: Float[Tensor, " c"] | None = None,
    signed: bool = False,
    logits: Float[Tensor, "b k"] | None = None,
) -> Float[Tensor, "b c"]:
    """The distance of each sample's features to the boundary between its class y and every class c.

    |(w_y - w_c) h + b_y - b_c| / ||w_y - w_c|| for c != y, and the least of these in column y (DynaMS,
    Algorithm 1, eq. 4); +inf where w_y equals w_c. The numerator is a difference of logits, so with
    `logits` at hand no product of features and weights is formed.

    Args:
        features: the head's input.
        targets: class numbers.
        weight: of the head.
        bias: of the head, if it has one.
        signed: negative where the sample is on the wrong side of the boundary.
        logits: what the head gave for the features; None: computed.

    Raises:
        ValueError: if features, logits or targets do not fit the head.

    >>> class_margins(torch.tensor([[3.0, 4.0]]), torch.tensor([0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([[0.7071, 0.7071]])
    """
    h = _flat(features)
    classes = len(weight)
    if h.shape[1] != weight.shape[1]:
        raise ValueError(
            f"features must have {weight.shape[1]} numbers a sample, as the head takes, got {h.shape[1]}."
        )
    if logits is not None and logits.shape[1] != classes:
        raise ValueError(f"logits must have the {classes} classes of the head, got {logits.shape[1]}.")
    if targets.is_cpu and not in_classes(targets, classes):
        raise ValueError(
            f"targets must be class numbers of the head's {classes} classes, got {int(targets.min())} to "
            f"{int(targets.max())}."
        )
    if logits is None:
        logits = torch.nn.functional.linear(h, weight, bias)
    index = targets[:, None]
    ahead = logits.gather(1, index) - logits
    scale = _scale_of(weight.abs().amax())
    weight = weight * scale
    # Not by inner products, which is faster but loses the difference of rows that are close.
    exact = "donot_use_mm_for_euclid_dist"
    if len(targets) < classes:
        apart = torch.cdist(weight[targets], weight, compute_mode=exact)
    else:
        apart = torch.cdist(weight, weight, compute_mode=exact)[targets]
    found = (ahead if signed else ahead.abs()) / (apart / scale)
    found = found.masked_fill(apart == 0, float("inf"))
    own = found.scatter(1, index, float("inf")).amin(1, keepdim=True)
    return found.scatter(1, index, own)


def margins(
    features: Float[Tensor, "b ..."],
    targets: Int[Tensor, " b"],
    weight: Float[Tensor, "c d"],
    bias: Float[Tensor, " c"] | None = None,
    logits: Float[Tensor, "b k"] | None = None,
) -> Float[Tensor, "b c"]:
    """`class_margins` as absolute distances."""
    return class_margins(features, targets, weight, bias, False, logits)


def signed_margins(
    features: Float[Tensor, "b ..."],
    targets: Int[Tensor, " b"],
    weight: Float[Tensor, "c d"],
    bias: Float[Tensor, " c"] | None = None,
    logits: Float[Tensor, "b k"] | None = None,
) -> Float[Tensor, "b c"]:
    """`class_margins` that are negative on the wrong side of a boundary."""
    return class_margins(features, targets, weight, bias, True, logits)


def nearness(
    features: Float[Tensor, "b ..."],
    targets: Int[Tensor, " b"],
    weight: Float[Tensor, "c d"],
    bias: Float[Tensor, " c"] | None = None,
    logits: Float[Tensor, "b k"] | None = None,
) -> Float[Tensor, " b"]:
    """Minus the absolute distance to the nearest class boundary, at most 0."""
    return -class_margins(features, targets, weight, bias, False, logits).amin(1)


def _flat(features: Float[Tensor, "b ..."]) -> Float[Tensor, "b d"]:
    """One flat vector for each sample, also if there are no samples."""
    return features.flatten(1) if features.ndim > 1 else features[:, None]


def _lengths(vectors: Float[Tensor, "b d"], added: int = 0) -> Float[Tensor, " b"]:
    """sqrt(||h||^2 + added) of each row, also if the squares are too large or too small for floats."""
    scale = _scale_of(vectors.abs().amax(1), 0 if added else -_POWER)
    squares = (vectors * scale[:, None]).square().sum(1)
    if added:
        squares = squares + added * scale.square()
    return squares.sqrt() / scale


def _scale_of(largest: Tensor, least: int = -_POWER) -> Tensor:
    """The power of two that scales the largest number near 1. Multiplying by it has no rounding error."""
    power = torch.frexp(largest).exponent.clamp(least, _POWER)
    return torch.ldexp(torch.ones_like(largest), -power)


@cache
def needs(signal: Signal) -> tuple[str, ...]:
    """The names of what a signal reads: fields of `Outputs`, or `weight` and `bias` of its head.

    Parameters with a default are left out: they are optional.

    >>> needs(correct), needs(margins)
    (('logits', 'targets'), ('features', 'targets', 'weight'))
    """
    parameters = inspect.signature(signal).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty)


def take_tokens(signals: tuple[Signal, ...]) -> bool:
    """Whether all signals that read logits also take those of every token, (b, t, c).

    Such a signal has dots in the annotation of its logits: `Float[Tensor, "b ... c"]`.
    """
    shapes = [inspect.signature(s).parameters["logits"].annotation for s in signals if "logits" in needs(s)]
    return bool(shapes) and all("..." in getattr(shape, "dim_str", str(shape)) for shape in shapes)


@cache
def _reads(signal: Signal) -> tuple[str, ...]:
    return tuple(inspect.signature(signal).parameters)


@torch.no_grad()
def measure(signals: tuple[Signal, ...], outputs: Outputs, owner: str) -> dict[str, Tensor]:
    """Each signal's values (b,) under its own name, detached, at least float32."""
    values, fields = {}, dict[str, Tensor | None]()
    for signal in signals:
        given = {}
        for name in _reads(signal):
            if name not in fields:
                fields[name] = _field(outputs, name)
            given[name] = value = fields[name]
            if value is None and name in needs(signal) and name != "bias":
                wanted = "head" if name in ("weight", "bias") else name
                raise ValueError(
                    f"{owner} needs {wanted}: return sw.Outputs(loss=..., {wanted}=...) from forward."
                )
        found = signal(**given)
        if found.shape[:1] != outputs.loss.shape or found.ndim > 2:
            raise ValueError(
                f"signal {signal.__name__} must return a value for each of {len(outputs.loss)} samples, "
                f"got shape {tuple(found.shape)}."
            )
        # Columns are float32. Values that do not fit are found before they are written.
        values[signal.__name__] = found.float() if found.dtype is torch.float64 else found
    return values


def _field(outputs: Outputs, name: str) -> Tensor | None:
    """A field as signals read it: detached, at least float32, targets as int64."""
    if name in ("weight", "bias"):
        value = None if outputs.head is None else outputs.head[name == "bias"]
    else:
        value = getattr(outputs, name)
    if value is None:
        return None
    if value.dtype in (torch.float16, torch.bfloat16):
        value = value.float()
    return value.long() if name == "targets" else value.detach()
