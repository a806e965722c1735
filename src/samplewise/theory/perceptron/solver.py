"""`solve`: solves the self-consistent equations of margin selection."""

# ruff: noqa: N806 - R is the letter of the equations

from dataclasses import dataclass
from math import cos, exp, inf, log, pi, sin, sqrt
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float64

from samplewise.checks import Range, check_arguments, require
from samplewise.theory.perceptron.quadrature import Field, Nodes, selected

special = require("scipy.special", "theory")

Vector = Float64[np.ndarray, "3"]
Counts = Literal["pool", "kept"]
Alpha = Annotated[float, Range(0.1, 50)]
Keep = Annotated[float, Range(0.05, 1)]

_COARSE, _FINE = (10, 28), (24, 72)
"""Quadrature nodes (per panel of t, for x): during the search, and at the solution. See `selected`."""


@dataclass(frozen=True)
class Solution:
    """The typical max-margin student of a selected set, in the limit of many dimensions.

    Attributes:
        alpha: examples per dimension, of the pool or of the kept set (see `alpha_counts`).
        keep: the share of the pool that is kept.
        theta: the angle between probe and teacher, in radians.
        alpha_counts: "pool" if `alpha` counts the pool, "kept" if it counts the kept examples.
        R: the cosine between student and teacher.
        rho: the cosine between student and probe.
        kappa: the margin of the student with norm 1. Inputs have unit variance in every direction.
        error: the share of new inputs that the student misclassifies, arccos(R) / pi.
        support_vectors: the number of examples on the margin, per dimension.
    """

    alpha: float
    keep: float
    theta: float
    alpha_counts: Counts
    R: float
    rho: float
    kappa: float
    error: float
    support_vectors: float

    @property
    def kept(self) -> float:
        """Kept examples per dimension."""
        return kept(self.alpha, self.keep, self.alpha_counts)


def kept(alpha: float, keep: float, alpha_counts: Counts) -> float:
    """Kept examples per dimension, for both meanings of `alpha`."""
    return alpha if alpha_counts == "kept" else alpha * keep


def check_theta(owner: str, theta: float) -> None:
    """Raise if theta is not an angle in [0, pi/2]. If it looks like degrees, the error says so."""
    if not 0 <= theta <= pi / 2:
        hint = f" Did you mean math.radians({theta:g})?" if pi / 2 < theta <= 90 else ""
        raise ValueError(f"{owner}.theta must be in [0, pi/2] radians, got {theta!r}.{hint}")


def solve(alpha: Alpha, keep: Keep = 1.0, theta: float = 0.0, alpha_counts: Counts = "pool") -> Solution:
    """Return the max-margin student that trains on the `keep` share of a pool with the smallest |probe . x|.

    A teacher labels standard normal inputs. The angle between probe and teacher is `theta` (radians).

    Source: DynaMS, appendix, equations (12), in an equivalent form that does not divide by small numbers. The
    equations are the optimality conditions of a convex problem, so there is one solution. All theta in
    [0, pi/2] use the same code, also theta = 0, where (12) is singular.

    In the text of the source, alpha counts the examples before selection. But (12) as printed is correct
    only if alpha counts the kept examples. `alpha_counts="pool"` is the meaning in the text: it uses alpha *
    keep in (12), and simulations confirm it. `"kept"` uses alpha in (12) directly.

    Limits: the error is not monotone in theta. With `"pool"`, selection is never better than the whole pool
    (keep = 1). If alpha * keep is small, the smallest margins are worse than a random choice of the same
    size.

    Raises:
        ValueError: if an argument is out of range. The error names it.
        ArithmeticError: if the iteration does not converge. This was never seen within the ranges.

    >>> from math import radians
    >>> round(solve(alpha=3.2, keep=0.6, theta=radians(40)).R, 4)
    0.7984
    """
    given = {"alpha": alpha, "keep": keep, "alpha_counts": alpha_counts}
    check_arguments("solve", solve, given | {"theta": theta})
    check_theta("solve", theta)
    field, load = _root(kept(alpha, keep, alpha_counts), keep, theta)
    norm = sqrt(1 + field.u**2 + field.v**2)
    R, q = field.u / norm, field.v / norm
    rho = R * cos(theta) + q * sin(theta)
    # Near R = 1, acos loses half of the digits. The sine of the angle is known exactly, so use arctan2.
    error = float(np.arctan2(sqrt(1 + field.v**2), field.u)) / pi
    return Solution(alpha, keep, theta, alpha_counts, R, rho, field.m / norm, error, load)


def _root(a: float, keep: float, theta: float) -> tuple[Field, float]:
    """Track the solution from few examples, where it is Hebb's rule, to `a` kept examples per dimension."""
    load = min(a, 0.1)
    m = sqrt(1 / load - 1)
    nodes = selected(keep, theta, Field(0, 0, m), *_COARSE)
    rule = load * m / (1 - load)
    here = _newton(
        np.array([rule * (nodes.weight @ nodes.t), rule * (nodes.weight @ nodes.x), m]),
        load, keep, theta, _COARSE, 1e-6,
    )  # fmt: skip
    slope, step = np.zeros(3), 0.4
    while here is not None and load < a:
        goal = min(a, load * exp(step))
        taken = log(goal / load)
        there = _newton(here + taken * slope, goal, keep, theta, _COARSE, 1e-6)
        if there is not None:
            here, slope, load, step = there, (there - here) / taken, goal, 1.5 * step
        elif step > 1e-3:
            step = step / 2
        else:
            here = None
    root = None if here is None else _newton(here, a, keep, theta, _FINE, 1e-13)
    if root is None:
        raise ArithmeticError(
            f"solve did not converge for {a:g} kept examples per dimension, keep={keep:g}, theta={theta:g}. "
            "Change one of them slightly."
        )
    field = Field(*root.tolist())
    nodes = selected(keep, theta, field, *_FINE)
    below = special.ndtr(field.m - field.u * nodes.t - field.v * nodes.x)
    return field, a * float(nodes.weight @ below)


def _newton(
    here: Vector, a: float, keep: float, theta: float, orders: tuple[int, int], tolerance: float
) -> Vector | None:
    """Run Newton's method. Return None if its steps grow or it leaves the valid region."""
    size = inf
    for _ in range(12):
        field = Field(*here.tolist())
        if not (field.u > 0 and field.m > 0):
            return None
        value, slope = _equations(field, a, selected(keep, theta, field, *orders))
        step = np.linalg.solve(slope, -value)
        here = here + step
        last, size = size, float(np.abs(step / (1 + np.abs(here))).max())
        # When rounding errors end the quadratic convergence, steps no longer shrink: this is the solution.
        if size < tolerance or (size < 1e-10 and size > last / 4):
            return here
        if size > 2 * last:
            return None
    return None


def _equations(field: Field, a: float, nodes: Nodes) -> tuple[Vector, Float64[np.ndarray, "3 3"]]:
    """Return the residuals of the three equations and their Jacobian with respect to (u, v, m).

    The equations are stationarity along both axes, and the norm of the component outside the plane. In the
    units of `Field`, with h = m - u t - v x, P = E Phi(h), psi1(h) = h Phi + phi and
    psi2(h) = (1 + h^2) Phi + h phi: u (1 - a P) = a E[t psi1], v (1 - a P) = a E[x psi1], 1 = a E[psi2].
    """
    t, x, weight = nodes.t, nodes.x, a * nodes.weight
    h = field.m - field.u * t - field.v * x
    below = special.ndtr(h)
    density = np.exp(-h * h / 2) / sqrt(2 * pi)
    first = weight * (h * below + density)
    second = weight * ((1 + h * h) * below + h * density)
    below *= weight
    density *= weight
    free = 1 - below.sum()
    value = np.array([first @ t - field.u * free, first @ x - field.v * free, second.sum() - 1])
    tt, tx, xx = (below * t) @ t, (below * t) @ x, (below * x) @ x
    t0, x0, p0 = density @ t, density @ x, density.sum()
    slope = np.array(
        [
            [-tt - free - field.u * t0, -tx - field.u * x0, below @ t + field.u * p0],
            [-tx - field.v * t0, -xx - free - field.v * x0, below @ x + field.v * p0],
            [-2 * (first @ t), -2 * (first @ x), 2 * first.sum()],
        ]
    )
    return value, slope
