"""Proposition 3 of Evolved Sampling: its weights are steps of ascent on losses minus reference losses."""

import numpy as np
from jaxtyping import Float64

from samplewise.checks import check_arguments
from samplewise.theory.flows.averages import BelowOne, Losses, Start, Weight, check_losses


def reference_weights(t: int, beta1: BelowOne, beta2: Weight) -> Float64[np.ndarray, " m"]:
    """The weights of s(0), l(1), ..., l(t) in the reference loss after t visits. They sum to 1.

    For t >= 1, all t + 1 weights are >= 0 if and only if beta1 (2 - beta2) <= 1. The published parameters
    satisfy this.

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
    """The reference losses after 1, ..., t visits of losses l(1..t), by (3.13). See `reference_weights`."""
    check_losses("reference_losses", losses)
    first = np.broadcast_to(np.asarray(start, float), losses.shape[1:])
    history = np.vstack([first, losses])
    return np.stack(
        [reference_weights(k, beta1, beta2) @ history[: k + 1] for k in range(1, len(losses) + 1)]
    )


def robust_weights(losses: Losses, start: Start, beta1: BelowOne, beta2: Weight) -> Losses:
    """Return w(1..t) by steps on losses minus references. It equals the weights of `decoupled`.

    w(k+1) = w(k) + (1 - beta1) (l(k+1) - reference(k)), with w(1) = beta1 s(0) + (1 - beta1) l(1).

    Limits: p proportional to w is a normalisation, not a projected or mirror step on the simplex. So this is
    an identity between updates. It does not prove convergence to the solution of a min-max problem.
    """
    references = reference_losses(losses, start, beta1, beta2)
    first = beta1 * np.asarray(start, float) + (1 - beta1) * losses[0]
    steps = (1 - beta1) * (losses[1:] - references[:-1])
    return np.vstack([np.broadcast_to(first, losses.shape[1:]), steps]).cumsum(axis=0)
