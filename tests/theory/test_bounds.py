"""The DynaMS bound: constants against plain sums, and each of its parts against simulated runs."""

import math
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

from samplewise.theory.bounds import (
    VacuousBoundWarning,
    critical_margin,
    dynams_bound,
    error_bound,
    keep_at_least,
    lemma1,
    misclassified_bound,
)

SMALL = {"T": 400, "d": 5, "lam": 1e-3, "D": 0.5, "epsilon": 0.5, "zeta": 1.5, "mu": 100.0, "alpha": 40.0}


def quiet_bound(**settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VacuousBoundWarning)
        return dynams_bound(**settings)


def test_every_term_is_what_the_theorem_says():
    T, d, lam, D, eps, zeta, mu, alpha = 50, 3, 0.8, 1.2, 0.4, 1.3, 90.0, 20.0
    found = quiet_bound(T=T, d=d, lam=lam, D=D, epsilon=eps, zeta=zeta, mu=mu, alpha=alpha)
    E = math.sqrt(d * lam) * (1 + (2 * mu) ** 0.25)
    beta = (1 + eps) ** 2 / (2 * D * D * lam) - 1
    c = ((zeta - 1) ** (-eps) - zeta ** (-eps)) / eps
    ell = math.log((zeta - 1) * T + 1)
    third = D * E * T**-0.75 * 2 * D * math.sqrt(lam) * T / (math.sqrt(2 * math.pi) * (1 + eps) * ell)
    third *= ((zeta - 1) * T + 1) ** (-((1 + eps) ** 2) / (2 * D * D * lam) * ell)
    c_third = 2 * D * math.sqrt(lam) / (math.sqrt(2 * math.pi) * (1 + eps)) * (zeta - 1) ** (-(beta + 1))
    expected = {
        "E": E, "beta": beta, "c_dropped": c, "c_misclassified": c_third, "probability": 1 - alpha / mu,
        "descent": D * E * T**-0.25, "dropped": D * E * c * T ** -(0.75 + eps), "misclassified": third,
        "misclassified_rate": D * E * c_third * T ** -(0.75 + beta), "step_size": D / (E * T**0.75),
    }  # fmt: skip
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-12), name
    assert found.total == pytest.approx(found.descent + found.dropped + found.misclassified, rel=1e-12)
    assert critical_margin(3, T, eps, zeta) == pytest.approx((1 + eps) * math.log(zeta * T - 3), rel=1e-12)
    safe = quiet_bound(T=T, d=d, lam=lam, D=D, epsilon=eps, zeta=zeta, mu=mu, alpha=alpha, safe=True)
    assert safe.descent == found.descent
    for name in ("dropped", "misclassified", "misclassified_rate"):
        assert getattr(safe, name) == pytest.approx(2 * getattr(found, name), rel=1e-12), name


@pytest.mark.parametrize("T", [3, 40, 500])
@pytest.mark.parametrize(("epsilon", "zeta", "width"), [(0.5, 1.5, 1.2), (0.1, 1.01, 1.0), (2.0, 2.0, 2.9)])
def test_the_error_terms_are_not_below_the_sums_they_bound(T, epsilon, zeta, width):
    settings = {"T": T, "d": 4, "lam": 1.0, "D": width, "mu": 50.0, "alpha": 10.0}
    found = quiet_bound(**settings, epsilon=epsilon, zeta=zeta)
    scale = width * found.E * T**-0.75
    margins = [critical_margin(t, T, epsilon, zeta) for t in range(T)]
    assert scale * sum(1 / (1 + math.exp(k)) for k in margins) <= found.dropped
    assert scale * sum(2 * norm.sf(k / width) for k in margins) <= found.misclassified
    if math.log((zeta - 1) * T + 1) >= 1:
        assert found.misclassified <= found.misclassified_rate
    else:
        assert found.misclassified_rate is None


def test_the_sum_behind_the_second_term_needs_steps_counted_from_zero():
    T, eps, zeta = 100, 0.5, 1.5
    c = quiet_bound(**SMALL | {"T": T, "epsilon": eps, "zeta": zeta}).c_dropped
    from_zero = sum((zeta * T - t) ** -(1 + eps) for t in range(T))
    from_one = sum((zeta * T - t) ** -(1 + eps) for t in range(1, T + 1))
    assert from_zero <= c * T**-eps < from_one
    assert (from_one, c * T**-eps) == pytest.approx((0.1207, 0.1195), abs=6e-5)


def test_a_bound_that_says_nothing_warns_and_one_that_says_something_does_not():
    with pytest.warns(VacuousBoundWarning, match=r"above log 2 = 0\.693"):
        found = dynams_bound(**SMALL | {"lam": 1.0})
    assert found.vacuous
    tight = dynams_bound(**SMALL)  # a warning would be an error
    assert tight.total < math.log(2)
    assert not tight.vacuous


NARROW = SMALL | {"zeta": 1 + 0.1 / SMALL["T"]}
WIDE = NARROW | {"lam": 1.0, "D": 1.3, "epsilon": 0.4}  # vacuous, and selects in its last steps


@pytest.mark.parametrize("settings", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("draw", range(3))
def test_the_bound_holds_on_runs_and_so_does_each_step_of_its_proof(settings, draw):
    T, d, lam, D = settings["T"], settings["d"], settings["lam"], settings["D"]
    rng = np.random.default_rng([31, draw])
    n = 200
    bound = quiet_bound(**settings)
    x = rng.standard_normal((n, d)) * np.sqrt(lam * np.array([1, 0.8, 0.6, 0.4, 0.2]))
    y = np.where(x @ rng.standard_normal(d) + 0.5 * lam**0.5 * rng.standard_normal(n) >= 0, 1.0, -1.0)
    longest = bound.E * T**0.25
    assert np.linalg.norm(x, axis=1).max() <= longest

    def loss(w):
        return np.logaddexp(0, -y * (x @ w)).mean()

    inside = {"type": "ineq", "fun": lambda w: D * D - w @ w}
    best = minimize(loss, np.zeros(d), constraints=[inside], options={"ftol": 1e-12})
    assert best.success
    w, losses, errors, dropped = np.zeros(d), [], [], []
    for t in range(T):
        losses.append(loss(w))
        assert np.linalg.norm(w) <= D
        field = x @ w
        kappa = critical_margin(t, T, settings["epsilon"], settings["zeta"])
        kept = np.abs(field) < kappa
        pull = (y * expit(-y * field))[:, None] * x / n
        errors.append(np.linalg.norm(pull[~kept].sum(axis=0)))
        wrong = ~kept & (y * field < 0)
        assert errors[-1] <= error_bound(longest, kappa, float(kept.mean()), float(wrong.mean()))
        dropped.append(1 - kept.mean())
        w = w + bound.step_size * pull[kept].sum(axis=0)
    assert 0 < min(losses) - best.fun <= bound.total
    assert D / T * sum(errors) <= bound.dropped + bound.misclassified
    assert (dropped[-1] > 0.05) == (settings is WIDE)


def test_the_kept_gradient_is_within_its_error_of_the_whole_one():
    dropped_shares = []
    for draw in range(200):
        rng = np.random.default_rng([17, draw])
        d, n = int(rng.integers(2, 9)), 300
        x, w = rng.standard_normal((n, d)), rng.standard_normal(d)
        field = x @ w
        y = np.where(field + rng.normal(0, 1.5, n) >= 0, 1.0, -1.0)
        kappa = float(np.quantile(np.abs(field), rng.uniform(0.12, 0.83)))
        kept = np.abs(field) < kappa
        wrong = ~kept & (y * field < 0)
        gradient = -(y * expit(-y * field))[:, None] * x
        error = np.linalg.norm(gradient.mean(axis=0) - gradient[kept].sum(axis=0) / n)
        longest = float(np.linalg.norm(x, axis=1).max())
        assert error <= error_bound(longest, kappa, float(kept.mean()), float(wrong.mean()))
        dropped_shares.append(1 - kept.mean())
    assert min(dropped_shares) < 0.2
    assert max(dropped_shares) > 0.85


def test_the_error_is_as_large_as_its_bound_where_all_inputs_agree():
    x, field, n, kappa = np.array([0.6, 0.8]), 2.0, 10, 1.5
    w = field * x  # |x| = 1: every field is 2, so all are dropped; three are misclassified
    y = np.array([-1.0] * 3 + [1.0] * 7)
    gradient = -(y * expit(-y * (x @ w)))[:, None] * x
    right = np.linalg.norm(gradient[3:].sum(axis=0)) / n
    assert right <= 0.7 / (1 + math.exp(kappa))
    assert error_bound(1.0, kappa, 0.0, 0.3) == pytest.approx(0.7 / (1 + math.exp(1.5)) + 0.3, rel=1e-12)


def test_misclassified_beyond_the_margin_are_at_most_a_normal_tail():
    rng = np.random.default_rng(3)
    d, lam, D, kappa, n = 4, 0.7, 1.3, 1.1, 400_000
    w = rng.standard_normal(d)
    w *= D / np.linalg.norm(w)
    field = rng.normal(0, math.sqrt(lam), (n, d)) @ w
    worst = (np.abs(field) >= kappa).mean()  # labels that are wrong everywhere
    bound = misclassified_bound(kappa, D, lam)
    assert worst == pytest.approx(bound, abs=4 * math.sqrt(bound / n))


def test_inputs_are_as_short_as_the_lemma_says():
    d, T, mu = 6, 1, 0.2
    scales = np.array([2.0, 1.5, 1, 1, 0.5, 0.1])
    lengths = np.linalg.norm(np.random.default_rng(1).standard_normal((50_000, d)) * np.sqrt(scales), axis=1)
    found = lemma1(d, 2.0, T, mu)
    assert 0 < (lengths > found.radius).mean() <= 1 - found.probability
    assert found.radius == pytest.approx(math.sqrt(12 * (1 + math.sqrt(0.4))), rel=1e-12)
    assert found.probability == pytest.approx(1 - 1 / 1.2, rel=1e-12)
    for steps in (1, 7, 900):
        other = lemma1(d, 2.0, steps, mu)
        assert other.radius <= other.loose
        assert other.loose == pytest.approx(other.E * steps**0.25, rel=1e-12)


def test_the_schedule_keeps_almost_everything():
    assert keep_at_least(120, 2.0) == pytest.approx(0.999998, abs=5e-7)
    D, lam, eps, T, zeta = 1.4, 1.0, 0.41, 50, 1.02  # epsilon just above D sqrt(lam) - 1
    smallest = 1 - misclassified_bound(critical_margin(T - 1, T, eps, zeta), D, lam)
    assert keep_at_least(T, zeta) <= smallest < keep_at_least(T, zeta) + 0.01


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epsilon": 0.0}, r"dynams_bound\.epsilon must be > 0, got 0"),
        ({"D": 3.0, "lam": 1.0}, r"epsilon must be > D sqrt\(lam\) - 1 = 2, got 0\.5"),
        ({"zeta": 1.0}, r"dynams_bound\.zeta must be > 1, got 1"),
        ({"mu": 40.0}, r"dynams_bound\.mu must be > alpha = 40"),
        ({"T": 0}, r"dynams_bound\.T must be >= 1, got 0"),
        ({"lam": -1.0}, r"dynams_bound\.lam must be > 0"),
    ],
)
def test_settings_outside_the_theorem_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        dynams_bound(**SMALL | changes)


def test_steps_outside_the_run_and_shares_above_one_are_refused():
    with pytest.raises(ValueError, match=r"critical_margin\.t must be in \[0, 10\)"):
        critical_margin(10, 10, 0.5, 1.5)
    with pytest.raises(ValueError, match=r"misclassified must be <= 0\.3, because kept is 0\.7, got 0\.4"):
        error_bound(1.0, 1.0, 0.7, 0.4)
