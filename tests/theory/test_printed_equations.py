"""The solution against the three equations as they are printed, by scipy and in extended precision."""

from dataclasses import replace
from math import pi, radians

import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.special import erfcinv, ndtr

from samplewise.theory.perceptron import residuals, solve


def random_settings(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        alpha = float(np.exp(rng.uniform(np.log(0.1), np.log(50))))
        yield alpha, rng.uniform(0.05, 1), radians(rng.uniform(1, 89)), str(rng.choice(["pool", "kept"]))


CORNERS = [
    (alpha, keep, radians(degrees), counts)
    for alpha in (0.1, 50.0)
    for keep in (0.05, 1.0)
    for degrees in (1, 89)
    for counts in ("pool", "kept")
]


def printed(solution):
    """Left minus right sides, symbol by symbol; only Lambda's differences need more than double precision."""
    theta, R, rho = (np.longdouble(x) for x in (solution.theta, solution.R, solution.rho))
    kappa, gamma, a = solution.kappa, solution.keep, solution.kept
    cosine, sine = np.cos(theta), np.sin(theta)
    Lambda = float(np.sqrt(sine**2 - R**2 - rho**2 + 2 * rho * R * cosine))
    left = [
        (R - rho * cosine) / sine**2,
        1 - (rho**2 + R**2 - 2 * rho * R * cosine) / sine**2,
        (rho - R * cosine) / sine**2,
    ]
    gamma_z, gamma_tau = float(rho * R - cosine), float(R - rho * cosine)
    zz = float(rho**2 + cosine**2 - 2 * rho * R * cosine)
    zt, tt = float(2 * (R * cosine - rho)), float(sine**2)
    q2, r = float(1 - rho**2), float(rho)

    def inner(tau, z):
        gauss = np.exp(-((tau - r * z) ** 2) / (2 * q2)) / np.sqrt(2 * pi * q2)
        H = ndtr(-(z * gamma_z - tau * gamma_tau) / (np.sqrt(q2) * Lambda))
        delta = np.exp(-(z * z * zz + tau * z * zt + tau * tau * tt) / (2 * Lambda**2))
        bracket = gauss * H * (z - r * tau) / q2 + delta / (2 * pi * Lambda) * gamma_z / q2
        below = kappa - tau
        right = a * np.array([delta / (pi * Lambda) * below, 2 * gauss * H * below**2, 2 * bracket * below])
        return right * np.exp(-z * z / 2) / (np.sqrt(2 * pi) * gamma)

    k = min(9.0, np.sqrt(2) * erfcinv(1 - gamma))

    def outer(z):
        low = r * z - 9.5 * np.sqrt(q2)
        if kappa <= low:
            return np.zeros(3)
        return quad_vec(lambda tau: inner(tau, z), low, kappa, epsabs=1e-12, epsrel=1e-11)[0]

    right = quad_vec(outer, -k, k, epsabs=1e-11, epsrel=1e-10, points=[0.0])[0]
    return np.array(left, dtype=float) - right


CALM = [(3.2, 0.6, radians(40), "pool"), (1.3, 0.35, radians(75), "kept"), (0.6, 1.0, radians(20), "pool")]


@pytest.mark.parametrize("setting", CALM)
def test_scipy_finds_the_printed_equations_met(setting):
    assert np.abs(printed(solve(*setting))).max() < 1e-10


@pytest.mark.parametrize("setting", [CALM[0], (2.0, 0.2, radians(55), "pool")])
def test_the_fast_residuals_are_the_printed_ones_away_from_a_solution_too(setting):
    solution = solve(*setting)
    wrong = replace(solution, R=solution.R + 0.02, rho=solution.rho - 0.03, kappa=1.1 * solution.kappa)
    assert np.abs(residuals(wrong)).min() > 1e-3
    assert residuals(wrong) == pytest.approx(printed(wrong), abs=1e-10)


@pytest.mark.parametrize("settings", [CORNERS, list(random_settings(40, seed=8))], ids=["corners", "random"])
def test_solutions_meet_the_printed_equations(settings):
    for setting in settings:
        assert np.abs(residuals(solve(*setting))).max() < 1e-10, setting


@pytest.mark.parametrize("alpha", [0.1, 3.2, 50.0])
@pytest.mark.parametrize("keep", [0.05, 0.6, 1.0])
def test_on_the_teacher_the_limit_of_the_equations_is_met(alpha, keep):
    solution = solve(alpha, keep)
    assert np.abs(residuals(solution)).max() < 1e-10
    assert np.abs(residuals(replace(solution, R=0.99 * solution.R))[1:]).min() > 1e-5
    assert abs(residuals(replace(solution, kappa=1.01 * solution.kappa))[0]) > 1e-6
