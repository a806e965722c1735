"""Margin selection in the perceptron: known values, limits, an optimiser of its own, bad input."""

from math import acos, cos, pi, radians, sqrt

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import ndtr

from samplewise.theory.perceptron import critical_keep, hard_margin, solve, solver
from samplewise.theory.perceptron.quadrature import Field, selected, threshold

WHOLE_POOL = [  # alpha, R, kappa, error, support vectors a dimension
    (0.5, 0.512148, 1.256380, 0.328850, 0.4120),
    (1, 0.671358, 0.786550, 0.265711, 0.6237),
    (1.7, 0.795415, 0.520891, 0.207253, 0.7771),
    (2, 0.829758, 0.454578, 0.188479, 0.8171),
    (2.1, 0.839503, 0.435989, 0.182847, 0.8283),
    (3.2, 0.910130, 0.299529, 0.135982, 0.9067),
    (5, 0.956870, 0.196710, 0.093827, 0.9561),
    (10, 0.988086, 0.099889, 0.049183, 0.9880),
]


@pytest.mark.parametrize(("alpha", "R", "kappa", "error", "support"), WHOLE_POOL)
def test_the_whole_pool_has_the_known_student_whatever_the_probe(alpha, R, kappa, error, support):
    for theta in (0.0, radians(40), radians(89)):
        found = solve(alpha, 1.0, theta)
        assert (found.R, found.kappa, found.error) == pytest.approx((R, kappa, error), abs=6e-7)
        assert found.support_vectors == pytest.approx(support, abs=6e-5)
        assert found.rho == pytest.approx(found.R * cos(theta), abs=1e-12)


@pytest.mark.parametrize(
    ("degrees", "error"), [(0, 0.1539657), (0.01, 0.1539657), (1, 0.154021), (5, 0.155359)]
)
def test_the_limit_of_a_probe_on_the_teacher_is_smooth(degrees, error):
    assert solve(3.2, 0.6, radians(degrees)).error == pytest.approx(error, abs=6e-7)


@pytest.mark.parametrize("alpha", [0.1, 3.2, 50.0])
@pytest.mark.parametrize("keep", [0.05, 0.6])
def test_a_vanishing_angle_is_no_angle(alpha, keep):
    at, near = solve(alpha, keep, 0.0), solve(alpha, keep, 1e-7)
    assert at.rho == at.R
    for name in ("R", "rho", "kappa", "error", "support_vectors"):
        assert getattr(near, name) == pytest.approx(getattr(at, name), abs=1e-10), name


def test_a_share_near_one_is_the_whole_pool():
    whole, nearly = solve(3.2, 1.0, 0.7), solve(3.2, 1 - 1e-9, 0.7)
    assert (nearly.R, nearly.kappa) == pytest.approx((whole.R, whole.kappa), abs=1e-8)


def test_published_selection_needs_alpha_times_keep():
    pool, literal = solve(3.2, 0.6, radians(40)), solve(3.2, 0.6, radians(40), alpha_counts="kept")
    assert (pool.R, pool.rho, pool.kappa) == pytest.approx((0.7984, 0.4992, 0.4002), abs=6e-5)
    assert (literal.R, literal.rho, literal.kappa) == pytest.approx((0.9236, 0.651, 0.238), abs=6e-4)
    assert pool.kept == pytest.approx(1.92)
    same = solve(1.92, 0.6, radians(40), alpha_counts="kept")
    assert (same.R, same.rho, same.kappa) == pytest.approx((pool.R, pool.rho, pool.kappa), abs=1e-12)


def test_many_examples_follow_the_maximum_stability_law():
    found = solve(50.0)
    assert 50 * found.error == pytest.approx(0.50049, abs=1e-3)
    assert 50 * found.kappa == pytest.approx(1.00446, abs=1e-3)
    assert found.support_vectors == pytest.approx(1, abs=1e-3)


def test_few_examples_follow_hebbs_rule():
    found = solve(0.1, 0.05, alpha_counts="pool", theta=pi / 2)
    # Across the probe's own direction nothing is selected: R is what sqrt(2 a / pi) says of a = 0.005.
    assert (found.R, found.kappa) == pytest.approx((sqrt(2 * 0.005 / pi), 1 / sqrt(0.005)), rel=0.01)


def test_the_share_of_support_vectors_is_the_critical_share():
    assert critical_keep(3.2) == pytest.approx(0.283, abs=5e-4)
    assert critical_keep(10.0) == pytest.approx(0.099, abs=5e-4)


@pytest.mark.parametrize(("alpha", "keep", "degrees"), [(3.2, 0.6, 40), (0.8, 0.3, 70), (8.0, 0.5, 5)])
def test_the_student_has_the_largest_margin_of_all_directions(alpha, keep, degrees):
    theta = radians(degrees)
    found = solve(alpha, keep, theta)
    q = (found.rho - found.R * cos(theta)) / np.sin(theta)
    out = sqrt(1 - found.R**2 - q**2)
    best = np.array([found.R, q]) / out
    # The sums must not end early for directions that are tried beside the best one.
    nodes = selected(keep, theta, Field(0.0, 0.0, 9.0), 48, 96)

    def margin(direction):
        u, v = direction

        def excess(m):
            h = m - u * nodes.t - v * nodes.x
            density = np.exp(-h * h / 2) / sqrt(2 * pi)
            return alpha * keep * (nodes.weight @ ((1 + h * h) * ndtr(h) + h * density)) - 1

        return brentq(excess, -5, 20, xtol=1e-14) / sqrt(1 + u * u + v * v)

    searched = minimize(lambda d: -margin(d), 0.8 * best + 0.05, method="Nelder-Mead",
                        options={"xatol": 1e-7, "fatol": 1e-14})  # fmt: skip
    assert searched.success
    assert searched.x == pytest.approx(best, abs=1e-5)
    assert -searched.fun == pytest.approx(found.kappa, abs=1e-9)
    assert found.error == pytest.approx(acos(found.R) / pi, abs=1e-12)


@pytest.mark.parametrize("keep", [0.05, 0.6, 1.0])
@pytest.mark.parametrize("theta", [0.0, 1e-6, 0.3, 1.5, pi / 2])
def test_the_nodes_stand_for_all_selected_inputs(keep, theta):
    nodes = selected(keep, theta, Field(0.0, 0.0, 1.0), 24, 72)
    assert nodes.weight.sum() == pytest.approx(1, abs=1e-13)
    z = np.cos(theta) * nodes.t + np.sin(theta) * nodes.x
    assert np.abs(z).max() <= threshold(keep) + 1e-12
    k = min(threshold(keep), 40.0)
    second = 1 - 2 * k * np.exp(-k * k / 2) / sqrt(2 * pi) / keep  # of a normal cut at +-k
    assert nodes.weight @ z**2 == pytest.approx(second, abs=1e-12)


def test_newtons_slopes_are_those_of_the_equations():
    nodes, at, small = selected(0.6, 0.7, Field(0.0, 0.0, 9.0), 24, 72), np.array([1.2, -0.3, 0.9]), 1e-5
    slope = solver._equations(Field(*at), 1.5, nodes)[1]
    for column in range(3):
        step = small * np.eye(3)[column]
        ahead, behind = (solver._equations(Field(*(at + s)), 1.5, nodes)[0] for s in (step, -step))
        assert slope[:, column] == pytest.approx((ahead - behind) / (2 * small), abs=1e-8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"alpha": 0.01}, r"solve\.alpha must be in \[0\.1, 50\], got 0\.01"),
        ({"alpha": 60.0}, r"solve\.alpha must be in"),
        ({"keep": 70.0}, r"solve\.keep must be in \[0\.05, 1\], got 70\.0\. Did you mean 0\.7\?"),
        ({"keep": 0.01}, r"solve\.keep must be in"),
        ({"theta": 40.0}, r"must be in .0, pi/2. radians, got 40\.0\. Did you mean math\.radians\(40\)"),
        ({"theta": -0.1}, r"solve\.theta must be in \[0, pi/2\] radians"),
        ({"theta": float("nan")}, r"solve\.theta"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        solve(**{"alpha": 3.2, "keep": 0.6, "theta": 0.7} | arguments)


@pytest.mark.parametrize(("n", "d"), [(5, 12), (30, 6), (400, 8)])
def test_the_hard_margin_classifier_meets_its_optimality_conditions(n, d):
    rng = np.random.default_rng(n)
    aligned = rng.standard_normal((n, d))
    aligned *= np.where(aligned[:, :1] >= 0, 1, -1)
    weights, support = hard_margin(aligned)
    margins = aligned @ weights
    assert margins.min() == pytest.approx(1, abs=1e-9)
    assert margins[support] == pytest.approx(1, abs=1e-9)
    # The classifier is a sum of its support vectors with positive weights: no shorter one is feasible.
    duals = np.linalg.lstsq(aligned[support].T, weights, rcond=None)[0]
    assert aligned[support].T @ duals == pytest.approx(weights, abs=1e-9)
    assert duals.min() > 0


def test_what_cannot_be_separated_is_refused():
    with pytest.raises(ValueError, match="examples that a classifier through the origin can separate"):
        hard_margin(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    with pytest.raises(ValueError, match="at least one example"):
        hard_margin(np.empty((0, 3)))
