"""The gradient of a target set in the last layer, and its products with those of the rows of a batch."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from samplewise.data.outputs import Outputs
from samplewise.signals import residual

__all__ = ["TargetGradient", "target_product"]

_NUMBERS = 1 << 22
"""At most so many products of rows and target rows are held at a time: 16 MiB."""

Factors = tuple[Tensor, Tensor]
"""p - e (m, c) and h (m, w) of some rows."""


def target_product(target_product: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """The product of each row's gradient with the mean gradient of a target set, both in the last layer.

    High where a step on the row lowers the loss of the target set. See `TargetGradient`.
    """
    return target_product


@dataclass(frozen=True)
class TargetGradient:
    """The mean gradient of the cross-entropy of m target rows with respect to the last layer.

    For probabilities p, the one-hot target e and the input h of the layer, a row has the gradient (p - e) h^T
    for the weight, and p - e for the bias. h gets a last number 1 if there is a bias. The mean over the rows
    is kept as a matrix (c, w) of c classes and w = d or d + 1 numbers; or as the factors of the rows, p - e
    (m, c) and h (m, w), if these are fewer numbers. Both give the same products.

    Args:
        rows: m.
        factors: one pair for each part of the target set; empty if there is a matrix.
        matrix: the mean gradient, or None.
        bias: whether the layer has a bias.
    """

    rows: int
    factors: tuple[Factors, ...]
    matrix: Float[Tensor, "c w"] | None
    bias: bool

    @classmethod
    @torch.no_grad()
    def of(cls, parts: Iterable[Outputs]) -> "TargetGradient":
        """The gradient of a target set, from the outputs of its parts, such as its batches.

        Args:
            parts: outputs with logits, targets, features and head.

        Raises:
            ValueError: if there are no rows, or a field is missing.
        """
        rows, bias, matrix = 0, False, None
        factors: list[Factors] = []
        for part in parts:
            bias = _has_bias(part)
            factors.append(_factors(part, bias))
            c, w = (factor.shape[1] for factor in factors[-1])
            rows += len(part.loss)
            if matrix is None and rows * (c + w) <= c * w:
                continue
            with torch.autocast(part.loss.device.type, enabled=False):
                for errors, inputs in factors:
                    matrix = errors.T @ inputs if matrix is None else matrix + errors.T @ inputs
            factors = []
        if not rows:
            raise ValueError("a target set must have at least one row, got none.")
        return cls(rows, tuple(factors), None if matrix is None else matrix / rows, bias)

    @torch.no_grad()
    def products(self, outputs: Outputs) -> Float[Tensor, " b"]:
        """The product of each row's gradient with that of the target set.

        It is the mean over target rows v of (p - e) . (p_v - e_v) times h . h_v, or h . h_v + 1 with a bias.

        Args:
            outputs: of a batch, with logits, targets and features, by the same model.

        Raises:
            ValueError: if a field is missing.
        """
        errors, inputs = _factors(outputs, self.bias)
        with torch.autocast(errors.device.type, enabled=False):
            if self.matrix is not None:
                return ((errors @ self.matrix.to(errors)) * inputs).sum(1)
            added = errors.new_zeros(len(errors))
            block = max(1, _NUMBERS // max(1, len(errors)))
            for part in self.factors:
                for others, theirs in zip(*(torch.split(factor, block) for factor in part), strict=True):
                    added += ((errors @ others.to(errors).T) * (inputs @ theirs.to(inputs).T)).sum(1)
            return added / self.rows


def _has_bias(outputs: Outputs) -> bool:
    if outputs.head is None:
        raise ValueError("a target set needs head: return sw.Outputs(loss=..., head=...) from forward.")
    return outputs.head[1] is not None


def _factors(outputs: Outputs, bias: bool) -> Factors:
    """P - e and h of each row, at least float32, h with a last number 1 if there is a bias."""
    logits, targets, features = outputs.logits, outputs.targets, outputs.features
    if logits is None or targets is None or features is None:
        missing = [name for name in ("logits", "targets", "features") if getattr(outputs, name) is None]
        fields = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"a target set needs {' and '.join(missing)}: return sw.Outputs(loss=..., {fields}) from forward."
        )
    wide = torch.promote_types(torch.promote_types(logits.dtype, features.dtype), torch.float32)
    errors = residual(logits.detach().to(wide), targets.long())
    inputs = (features if features.ndim > 1 else features[:, None]).detach().to(wide).flatten(1)
    return errors, torch.nn.functional.pad(inputs, (0, 1), value=1.0) if bias else inputs
