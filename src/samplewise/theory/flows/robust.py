"""Proposition 3 of Evolved Sampling: its weights as ascent on losses above a reference from their history."""

import numpy as np
from jaxtyping import Float64

from samplewise.checks import check_arguments
from samplewise.theory.flows.averages import BelowOne, Losses, Start, Weight, check_losses


def reference_weights(t: int, beta1: BelowOne, beta2: Weight) -> Float64[np.ndarray, " m"]:
    """What the reference after t visits makes of s(0), l(1), ..., l(t); these t + 1 weights sum to 1.

    None is negative if and only if beta1 (2 - beta2) <= 1 (for t >= 1), as with the published parameters.

    >>> reference_weights(2, 0.2, 0.9).round(4).tolist()
    [0.0225, 0.0025, 0.975]
    """
    check_arguments("reference_weights", reference_weights, {"t": t, "beta1": beta1, "beta2": beta2})
    if t < 1:
        raise ValueError(f"reference_weights.t must be >= 1, got {t}.")
    weights = np.empty(t + 1)
    weights[0] = beta1 * (1 - beta2) * beta2 ** (t - 1)
    weights[1:t] = beta1 * (1 - beta2) ** 2 * float(beta2) ** np.arange(t - 1)[::-1]
    weights[t] = 1 - 2 * beta1 + beta1 * beta2
    return weights / (1 - beta1)


def reference_losses(losses: Losses, start: Start, beta1: BelowOne, beta2: Weight) -> Losses:
    """The references after 1, ..., t visits of losses l(1..t), equation (3.13); see `reference_weights`."""
    check_losses("reference_losses", losses)
    first = np.broadcast_to(np.asarray(start, float), losses.shape[1:])
    history = np.vstack([first, losses])
    return np.stack(
        [reference_weights(k, beta1, beta2) @ history[: k + 1] for k in range(1, len(losses) + 1)]
    )


def robust_weights(losses: Losses, start: Start, beta1: BelowOne, beta2: Weight) -> Losses:
    """w(1..t) by steps of 1 - beta1 towards losses above their reference; equal to `decoupled`'s weights.

    w(k+1) = w(k) + (1 - beta1) (l(k+1) - reference(k)) from w(1) = beta1 s(0) + (1 - beta1) l(1).

    What does not hold: p proportional to w is a normalisation, not a projected or mirror step on the simplex,
    so this is an identity between updates and says nothing about the convergence of a min-max problem.
    """
    references = reference_losses(losses, start, beta1, beta2)
    first = beta1 * np.asarray(start, float) + (1 - beta1) * losses[0]
    steps = (1 - beta1) * (losses[1:] - references[:-1])
    return np.vstack([np.broadcast_to(first, losses.shape[1:]), steps]).cumsum(axis=0)
