"""`hard_margin`: the exact hard-margin classifier through the origin."""

import numpy as np
from jaxtyping import Float64, Int

from samplewise.checks import require

optimize = require("scipy.optimize", "theory")

_LOOSE = 1e-9
"""Tolerance: an example is added to the working set if its margin is below 1 by more than this."""


def hard_margin(
    aligned: Float64[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, " d"], Int[np.ndarray, " s"]]:
    """Return the shortest w with `aligned @ w >= 1`, and the positions of its support vectors.

    `aligned` holds inputs times labels (-1 or 1), shape (n, d). The problem is reduced to non-negative least
    squares (Lawson and Hanson). Its active-set method finds the exact solution, without a tolerance. It
    starts with few examples, and adds those with a margin below 1 until there are none.

    Raises:
        ValueError: if there are no examples, or no classifier through the origin separates them.
    """
    n, d = aligned.shape
    if n == 0:
        raise ValueError("hard_margin needs at least one example, got none.")
    working = np.arange(min(n, 3 * d))
    target = np.zeros(d + 1)
    target[-1] = 1
    while True:
        system = np.vstack([aligned[working].T, np.ones(len(working))])
        dual, rest = optimize.nnls(system, target, maxiter=30 * len(working))
        gap = system @ dual - target
        if rest < 1e-9:
            raise ValueError(
                "hard_margin needs examples that a classifier through the origin can separate, but none does."
            )
        weights = -gap[:-1] / gap[-1]
        margins = aligned @ weights
        missed = np.flatnonzero(margins < 1 - _LOOSE)
        new = np.setdiff1d(missed, working)
        if not len(new):
            return weights, working[dual > 0]
        worst = new[np.argsort(margins[new], kind="stable")[: 2 * d]]
        working = np.concatenate([working[dual > 0], worst])
