"""`residuals`: checks a solution against the three equations as the source prints them."""

# ruff: noqa: N806 - R is the letter of the equations

from math import cos, pi, sin, sqrt

import numpy as np
from jaxtyping import Float64

from samplewise.checks import require
from samplewise.theory.perceptron.quadrature import FAR, panels, threshold
from samplewise.theory.perceptron.solver import Solution

special = require("scipy.special", "theory")

Vector = Float64[np.ndarray, " z"]
Rows = Float64[np.ndarray, "z y"]

_ORDER = 20
_HALVINGS = 14
"""Number of times that panels are halved towards a point where an integrand is steep."""


def residuals(solution: Solution) -> tuple[float, float, float]:
    """Return left side minus right side of each of the three printed equations (DynaMS, appendix, (12)).

    The equations are integrated as printed, over the aligned field tau and the margin z of the probe. So this
    code shares no variables and no formulas with `solve`. Their alpha is the number of kept examples per
    dimension.

    The residuals are below 1e-10 if theta is at least one degree. Near theta = 0 the equations are singular,
    and rounding errors of rho make the residuals larger. At theta = 0, the result is the residuals of the two
    limit equations, and R - rho.
    """
    if solution.theta == 0:
        return _aligned(solution)
    R, kappa, a = solution.R, solution.kappa, solution.kept
    c, s = cos(solution.theta), sin(solution.theta)
    # The student has component R along the teacher, q along the other axis of the plane, `out` outside the
    # plane. So Lambda = out * sin(theta); the printed form subtracts nearly equal numbers.
    q = (solution.rho - R * c) / s
    out = sqrt(1 - R * R - q * q)
    turned = R * s - q * c
    deviation = sqrt(out * out + turned * turned)  # sqrt(1 - rho^2)
    rho = solution.rho
    scale = out * s  # Lambda
    toward_z = -(c * (1 - R * R) - R * q * s)  # rho R - cos(theta)
    toward_tau = s * turned  # R - rho cos(theta)

    end = min(threshold(solution.keep), FAR)
    steep = turned * s * rho - c * deviation**2
    places = [numerator / slope for numerator, slope in ((kappa, rho), (kappa * turned * s, steep)) if slope]
    z, dz = _margins(end, places)
    dz *= np.exp(-z * z / 2) / sqrt(2 * pi) / solution.keep
    # Gamma = 0 is a line in (z, tau). If Gamma does not depend on tau, its sign does not change along tau.
    turn = -z * c * deviation / (s * turned) if turned else np.zeros_like(z)
    y, dy = _fields((kappa - rho * z) / deviation, turn, min(out / abs(turned), 1.0) if turned else 1.0)
    z, tau = z[:, None], rho * z[:, None] + deviation * y
    gamma = z * toward_z - tau * toward_tau
    gauss = np.exp(-y * y / 2) / sqrt(2 * pi) / deviation
    tail = special.ndtr(-gamma / (deviation * scale))
    delta = np.exp(-y * y / 2 - (gamma / (deviation * scale)) ** 2 / 2)  # exp(-Delta / (2 Lambda^2))
    missing = kappa - tau

    def average(inner: Rows) -> float:
        return float(dz @ (inner * missing * dy).sum(1)) * deviation

    first = turned / s - a / (pi * scale) * average(delta)
    second = out * out - 2 * a * average(gauss * tail * missing)
    bracket = gauss * tail * (z - rho * tau) + delta * toward_z / (2 * pi * scale)
    third = q / s - 2 * a * average(bracket) / deviation**2
    return first, second, third


def _aligned(solution: Solution) -> tuple[float, float, float]:
    """The residuals in the limit theta = 0, where the probe is the teacher and the field is R |z| + noise."""
    R, kappa, a = solution.R, solution.kappa, solution.kept
    out = sqrt(1 - R * R)
    end = min(threshold(solution.keep), FAR, (kappa + 9 * out) / R)  # beyond, every field exceeds the margin
    z, dz = panels(np.linspace(0, end, 13), _ORDER)
    dz = 2 * dz * np.exp(-z * z / 2) / sqrt(2 * pi) / solution.keep
    h = (kappa - R * z) / out
    below, density = special.ndtr(h), np.exp(-h * h / 2) / sqrt(2 * pi)
    square = out * out * float(dz @ ((1 + h * h) * below + h * density))
    linear = out * float(dz @ (z * (h * below + density)))
    share = float(dz @ below)
    return out * out - a * square, R * (1 - a * share) - a * linear, R - solution.rho


def _margins(end: float, places: list[float]) -> tuple[Vector, Vector]:
    """Nodes from -end to end, with finer panels near 0, where Gamma changes sign, and near `places`.

    `places` are the points where tau = kappa (the end of the inner integral) crosses the field or Gamma = 0.
    """
    halves = 0.5 ** np.arange(_HALVINGS)
    edges = [np.linspace(-end, end, 9), end * halves, -end * halves]
    edges += [place + sign * halves for place in places for sign in (-1, 1)]
    return panels(np.unique(np.clip(np.concatenate(edges), -end, end)), _ORDER)


def _fields(top: Vector, turn: Vector, width: float) -> tuple[Rows, Rows]:
    """Nodes for tau up to `top`, in standard deviations from rho z. Finer near `turn`: Gamma changes sign."""
    ends = np.clip(top, -FAR, FAR)[:, None]
    even = -FAR + (ends + FAR) * np.linspace(0, 1, 6)
    near = turn[:, None] + width * np.array([-8.0, -4, -1, 1, 4, 8])
    return panels(np.sort(np.clip(np.hstack([even, near]), -FAR, ends), axis=1), _ORDER)
