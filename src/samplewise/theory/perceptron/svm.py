"""The hard-margin classifier through the origin, exactly: `hard_margin`."""

import numpy as np
from jaxtyping import Float64, Int

from samplewise.checks import require

optimize = require("scipy.optimize", "theory")

_LOOSE = 1e-9
"""By how much a margin of one may be missed before its example joins the problem."""


def hard_margin(
    aligned: Float64[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, " d"], Int[np.ndarray, " s"]]:
    """The shortest w with `aligned @ w >= 1`, and the positions of the examples that hold it there.

    `aligned` are inputs times their labels of -1 and 1. Lawson and Hanson's reduction to non-negative least
    squares: its active set ends at the exact solution, unlike a solver with a tolerance. It sees few examples
    first, then those that the answer misclassifies or has too close, until there are none.

    Raises:
        ValueError: if there are no examples, or no w through the origin separates them.
    """
    n, d = aligned.shape
    if n == 0:
        raise ValueError("hard_margin needs at least one example.")
    working = np.arange(min(n, 3 * d))
    target = np.zeros(d + 1)
    target[-1] = 1
    while True:
        system = np.vstack([aligned[working].T, np.ones(len(working))])
        dual, rest = optimize.nnls(system, target, maxiter=30 * len(working))
        gap = system @ dual - target
        if rest < 1e-9:
            raise ValueError("hard_margin: no classifier through the origin separates the examples.")
        weights = -gap[:-1] / gap[-1]
        margins = aligned @ weights
        missed = np.flatnonzero(margins < 1 - _LOOSE)
        new = np.setdiff1d(missed, working)
        if not len(new):
            return weights, working[dual > 0]
        worst = new[np.argsort(margins[new], kind="stable")[: 2 * d]]
        working = np.concatenate([working[dual > 0], worst])
