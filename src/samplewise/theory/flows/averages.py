"""Proposition 2 of Evolved Sampling: the decoupled average equals an average plus differences."""

from typing import Annotated

import numpy as np
from jaxtyping import Float64

from samplewise.checks import Range, check_arguments

Losses = Float64[np.ndarray, "t n"]
Start = float | Float64[np.ndarray, " n"]
Weight = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, open_high=True)]


def check_losses(owner: str, losses: Losses) -> None:
    """Raise if `losses` is not a matrix of finite numbers with at least one row."""
    if losses.ndim != 2 or not len(losses) or not np.isfinite(losses).all():
        raise ValueError(
            f"{owner}.losses must be a matrix of finite numbers: one row per visit (at least 1) and one "
            f"column per sample, got shape {losses.shape} with {(~np.isfinite(losses)).sum()} non-finite "
            "values."
        )


def decoupled(losses: Losses, start: Start, beta1: Weight, beta2: Weight) -> tuple[Losses, Losses]:
    """Return the weights w(1..t) and scores s(1..t) of t visits, by equation (3.1).

    w(k) = beta1 s(k-1) + (1 - beta1) l(k) and s(k) = beta2 s(k-1) + (1 - beta2) l(k). Note that w uses the
    score before the visit. Algorithm 1 of the paper updates the score first, but its indices mean the same.

    Args:
        losses: l(1..t), one row per visit and one column per sample.
        start: s(0), one number for all samples or one per sample.
        beta1: weight of the old score in w, in [0, 1].
        beta2: weight of the old score in s, in [0, 1].
    """
    check_arguments("decoupled", decoupled, {"beta1": beta1, "beta2": beta2})
    check_losses("decoupled", losses)
    score = np.broadcast_to(np.asarray(start, float), losses.shape[1:])
    weights, scores = np.empty_like(losses), np.empty_like(losses)
    for k, loss in enumerate(losses):
        weights[k] = beta1 * score + (1 - beta1) * loss
        scores[k] = score = beta2 * score + (1 - beta2) * loss
    return weights, scores


def difference_form(losses: Losses, start: Start, beta1: Weight, beta2: BelowOne) -> Losses:
    """Return w(1..t) as the score plus a multiple of its last change, by equation (3.9). It is exact.

    w(k) = s(k) + (beta2 - beta1) / (1 - beta2) (s(k) - s(k-1)).
    """
    check_arguments("difference_form", difference_form, {"beta1": beta1, "beta2": beta2})
    scores = decoupled(losses, start, beta1, beta2)[1]
    first = np.broadcast_to(np.asarray(start, float), losses.shape[1:])
    changes = np.diff(np.vstack([first, scores]), axis=0)
    return scores + (beta2 - beta1) / (1 - beta2) * changes


def convolution_form(
    losses: Losses, start: Start, beta1: Weight, beta2: Weight
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return the right side of equation (3.10) and its remainder. Their sum is w(t).

    The first part is (1 - beta2) sum_k beta2^(t-k) l(k) + (beta2 - beta1) sum_k beta2^(t-1-k) (l(k+1) -
    l(k)). The paper gives the remainder as O(beta2^t). It is exactly beta2^(t-1) (beta1 s(0) + (beta2 -
    beta1) l(1)).
    """
    check_arguments("convolution_form", convolution_form, {"beta1": beta1, "beta2": beta2})
    check_losses("convolution_form", losses)
    t = len(losses)
    powers = float(beta2) ** np.arange(t)[::-1]
    printed = (1 - beta2) * (powers @ losses) + (beta2 - beta1) * (powers[1:] @ np.diff(losses, axis=0))
    remainder = beta2 ** (t - 1) * (beta1 * np.asarray(start, float) + (beta2 - beta1) * losses[0])
    return printed, np.broadcast_to(remainder, losses.shape[1:])
