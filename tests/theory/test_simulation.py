"""Drawn pools with exact students against the equations, and the stages against plain loops."""

from itertools import combinations
from math import acos, cos, pi, radians, sin

import numpy as np
import pytest

from samplewise.theory.perceptron import (
    dynamics,
    fresh_pools,
    hard_margin,
    linear_keeps,
    same_pool,
    simulate,
    solve,
    static,
)

D, REPEATS = 200, 10
NAMES = ("R", "rho", "kappa", "error", "support_vectors")


def random_settings(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        alpha = float(np.exp(rng.uniform(np.log(0.3), np.log(5))))
        yield alpha, rng.uniform(0.25, 1), radians(rng.uniform(0, 85)), str(rng.choice(["pool", "kept"]))


@pytest.mark.parametrize("setting", [(3.2, 0.6, radians(40), "pool"), *random_settings(6, seed=20)])
def test_simulation_agrees_with_the_equations_within_sampling_error(setting):
    alpha, keep, theta, counts = setting
    theory = solve(*setting)
    found = simulate(alpha, keep, theta, D, REPEATS, seed=4, alpha_counts=counts)
    for name in NAMES:
        expected, (mean, standard_error) = getattr(theory, name), getattr(found, name)
        # Four standard errors, and what is left of a finite dimension: a few parts in d.
        assert mean == pytest.approx(expected, abs=4 * standard_error + 3 * max(expected, 0.3) / D), name


def test_the_literal_reading_of_alpha_is_far_from_the_simulation():
    found = simulate(3.2, 0.6, radians(40), D, REPEATS, seed=4)
    literal = solve(3.2, 0.6, radians(40), alpha_counts="kept")
    assert literal.error - found.error.mean < -10 * found.error.standard_error
    assert found.kappa.mean - literal.kappa > 10 * found.kappa.standard_error


def brute(aligned):
    """The shortest w of two dimensions with margins of at least 1, over all pairs and single examples."""
    candidates = [x / (x @ x) for x in aligned]
    for first, second in combinations(aligned, 2):
        pair = np.stack([first, second])
        if abs(np.linalg.det(pair)) > 1e-12:
            candidates.append(np.linalg.solve(pair, np.ones(2)))
    feasible = [w for w in candidates if (aligned @ w).min() >= 1 - 1e-9]
    return min(feasible, key=np.linalg.norm)


def test_a_simulated_repeat_is_what_plain_steps_give():
    alpha, keep, theta, seed = 12.0, 0.45, 0.6, 7
    measured = []
    for repeat in range(3):
        x = np.random.default_rng([seed, repeat]).standard_normal((24, 2))
        y = np.where(x[:, 0] >= 0, 1.0, -1.0)
        probe = np.array([cos(theta), sin(theta)])
        order = sorted(range(24), key=lambda i, x=x: abs(x[i] @ probe))
        kept = order[: 24 - 13]  # the floor of 0.55 * 24 = 13.2 is dropped
        w = brute(x[kept] * y[kept, None])
        unit = w / np.linalg.norm(w)
        measured.append((unit[0], unit @ probe, 1 / np.linalg.norm(w), acos(unit[0]) / pi))
    found = simulate(alpha, keep, theta, dimension=2, repeats=3, seed=seed)
    for name, column in zip(NAMES, zip(*measured, strict=True), strict=False):
        mean, standard_error = getattr(found, name)
        assert mean == pytest.approx(np.mean(column), abs=1e-9), name
        assert standard_error == pytest.approx(np.std(column, ddof=1) / 3**0.5, abs=1e-9), name


@pytest.mark.parametrize("margin", ["unsigned", "signed"])
def test_stages_on_one_pool_are_what_plain_steps_give(margin):
    keeps, d, seed = (0.7, 0.4, 0.3), 5, 3
    errors = []
    for repeat in range(2):
        x = np.random.default_rng([seed, repeat]).standard_normal((40, d))
        y = np.where(x[:, 0] >= 0, 1.0, -1.0)
        estimator, mine = np.array([cos(1.3), sin(1.3), 0, 0, 0]), []
        for dropped in (12, 24, 28):
            field = x @ estimator
            held = np.abs(field) if margin == "unsigned" else y * field
            kept = np.argsort(held)[: 40 - dropped]
            w = hard_margin(x[kept] * y[kept, None])[0]
            estimator = w / np.linalg.norm(w)
            mine.append(acos(estimator[0]) / pi)
        errors.append(mine)
    found = same_pool(8.0, keeps, 1.3, d, 2, seed, margin)
    assert [stage.error.mean for stage in found] == pytest.approx(np.mean(errors, axis=0), abs=1e-12)
    # The estimator of a stage is the student of the one before.
    assert found[0].theta == pytest.approx((1.3, 0), abs=1e-12)
    assert found[1].theta.mean == pytest.approx(pi * found[0].error.mean, abs=1e-12)


def test_the_recursion_feeds_each_student_to_the_next_stage():
    keeps, theta = (0.9, 0.6, 0.35), radians(40)
    angles = [theta]
    for keep in keeps:
        angles.append(acos(solve(2.1, keep, angles[-1]).R))
    found = dynamics(2.1, keeps, theta)
    assert [stage.theta for stage in found] == pytest.approx(angles[:-1], abs=1e-12)
    assert [stage.error for stage in found] == pytest.approx([a / pi for a in angles[1:]], abs=1e-12)
    unchanged = static(2.1, keeps, theta)
    assert [stage.theta for stage in unchanged] == [theta] * 3
    assert [stage.R for stage in unchanged] == [solve(2.1, keep, theta).R for keep in keeps]


def test_fresh_pools_follow_the_recursion():
    keeps, theta = (0.9, 0.6, 0.4), radians(40)
    simulated = fresh_pools(3.2, keeps, theta, D, REPEATS, seed=2)
    for stage, expected in zip(simulated, dynamics(3.2, keeps, theta), strict=True):
        mean, standard_error = stage.error
        assert mean == pytest.approx(expected.error, abs=4 * standard_error + 1 / D)


def test_one_pool_finds_all_support_vectors_above_the_critical_share_and_collapses_below():
    # At alpha = 3.2 the critical share is 0.283.
    whole = simulate(3.2, 1.0, 0.0, D, 6, seed=5).error.mean
    above = same_pool(3.2, (0.6,) * 5, radians(40), D, 6, seed=5)
    assert above[-1].error.mean == pytest.approx(whole, abs=1e-9)
    assert above[0].error.mean > whole + 0.05
    last = same_pool(3.2, (0.6, 0.6, 0.6, 0.2), radians(40), D, 6, seed=5)
    assert last[-2].error.mean < whole + 0.01
    assert last[-1].error.mean > whole + 0.05


def test_dynamic_selection_is_not_always_better_and_small_margins_not_always_informative():
    # What the docstrings warn of: falling shares make the error rise from stage to stage; and of few
    # examples, the random half teaches more than the half with the smallest margins.
    errors = [stage.error for stage in dynamics(3.2, linear_keeps(0.6, 8), radians(40))]
    assert errors == sorted(errors)
    assert solve(1.0, 0.3, radians(20)).error > solve(0.3).error
    assert solve(3.2, 0.6, radians(20)).error > solve(3.2).error


def test_linear_shares_have_the_average_and_end_above_nothing():
    keeps = linear_keeps(0.6, 12)
    assert np.mean(keeps) == pytest.approx(0.6, abs=1e-12)
    assert np.diff([1.0, *keeps]) == pytest.approx([keeps[0] - 1] * 12, abs=1e-12)
    with pytest.raises(ValueError, match=r"ends at 0\.0164 after 60 stages"):
        linear_keeps(0.5, 60)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: simulate(3.2, dimension=1), r"simulate\.dimension must be >= 2, got 1"),
        (lambda: simulate(3.2, repeats=1), r"simulate\.repeats must be >= 2, got 1"),
        (lambda: simulate(3.2, theta=40.0), "math.radians"),
        (lambda: dynamics(3.2, (), 0.5), r"dynamics\.keeps must hold one share for each stage"),
        (lambda: static(3.2, (0.5, 60.0), 0.5), r"static\.keeps\[1\]\.keep must be in .* Did you mean 0\.6"),
        (lambda: same_pool(3.2, (0.5,), 2.0), r"same_pool\.theta must be in \[0, pi/2\] radians"),
        (lambda: linear_keeps(0.5, 0), r"linear_keeps\.stages must be >= 1"),
    ],
)
def test_bad_arguments_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
