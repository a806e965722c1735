"""Proposition 2 of Evolved Sampling: its decoupled average as an average plus differences, exactly."""

from typing import Annotated

import numpy as np
from jaxtyping import Float64

from samplewise.checks import Range, check_arguments

Losses = Float64[np.ndarray, "t n"]
Start = float | Float64[np.ndarray, " n"]
Weight = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, open_high=True)]


def check_losses(owner: str, losses: Losses) -> None:
    """Refuse what is no matrix of finite losses, a row a visit."""
    if losses.ndim != 2 or not len(losses) or not np.isfinite(losses).all():
        raise ValueError(
            f"{owner}.losses must be finite, a row for each of t >= 1 visits and a column a sample."
        )


def decoupled(losses: Losses, start: Start, beta1: Weight, beta2: Weight) -> tuple[Losses, Losses]:
    """Weights w(1..t) and scores s(1..t) of t visits, as the method defines them (equation 3.1).

    w(k) = beta1 s(k-1) + (1 - beta1) l(k) and s(k) = beta2 s(k-1) + (1 - beta2) l(k): w takes the score from
    BEFORE this visit. The method's Algorithm 1 writes the new score first, but means the same by its indices.

    Args:
        losses: l(1..t), a row a visit and a column a sample.
        start: s(0), one for all samples or one each.
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
    """w(1..t) as the score plus a multiple of its last change, equation (3.9); exact.

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
    """Averages of the losses and of their changes, equation (3.10), and the remainder: they add up to w(t).

    (1 - beta2) sum_k beta2^(t-k) l(k) + (beta2 - beta1) sum_k beta2^(t-1-k) (l(k+1) - l(k)). The paper leaves
    the remainder at O(beta2^t); it is exactly beta2^(t-1) (beta1 s(0) + (beta2 - beta1) l(1)).
    """
    check_arguments("convolution_form", convolution_form, {"beta1": beta1, "beta2": beta2})
    check_losses("convolution_form", losses)
    t = len(losses)
    powers = float(beta2) ** np.arange(t)[::-1]
    printed = (1 - beta2) * (powers @ losses) + (beta2 - beta1) * (powers[1:] @ np.diff(losses, axis=0))
    remainder = beta2 ** (t - 1) * (beta1 * np.asarray(start, float) + (beta2 - beta1) * losses[0])
    return printed, np.broadcast_to(remainder, losses.shape[1:])
