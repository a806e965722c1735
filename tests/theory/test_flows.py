"""Evolved Sampling's propositions: identities, inequalities on convex problems, a counterexample."""

import numpy as np
import pytest

from samplewise.theory import flows

PARAMETERS = [(0.2, 0.9), (0.2, 0.8), (0.0, 0.9), (0.5, 0.5), (0.95, 0.1), (0.7, 0.0)]


def drawn(seed, visits=30, samples=7):
    rng = np.random.default_rng(seed)
    return rng.exponential(1.0, (visits, samples)), rng.exponential(1.0, samples)


def by_hand(losses, start, beta1, beta2):
    """Weights and scores in plain loops, a sample at a time."""
    weights, scores = np.zeros(losses.shape), np.zeros(losses.shape)
    for i in range(losses.shape[1]):
        score = start[i]
        for k in range(losses.shape[0]):
            weights[k, i] = beta1 * score + (1 - beta1) * losses[k, i]
            score = beta2 * score + (1 - beta2) * losses[k, i]
            scores[k, i] = score
    return weights, scores


@pytest.mark.parametrize(("beta1", "beta2"), PARAMETERS)
def test_the_decoupled_average_has_three_exact_forms(beta1, beta2):
    losses, start = drawn(1)
    weights, scores = by_hand(losses, start, beta1, beta2)
    found = flows.decoupled(losses, start, beta1, beta2)
    np.testing.assert_allclose(found[0], weights, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found[1], scores, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        flows.difference_form(losses, start, beta1, beta2), weights, rtol=0, atol=1e-12
    )
    for t in (1, 2, 3, 30):
        printed, rest = flows.convolution_form(losses[:t], start, beta1, beta2)
        np.testing.assert_allclose(printed + rest, weights[t - 1], rtol=0, atol=1e-12)


def test_the_convolution_form_is_the_printed_sum_and_its_remainder_shrinks():
    losses, start = drawn(2, visits=40)
    b1, b2, t = 0.2, 0.9, 40
    printed, rest = flows.convolution_form(losses, start, b1, b2)
    for i in range(7):
        level = sum((1 - b2) * b2 ** (t - k) * losses[k - 1, i] for k in range(1, t + 1))
        change = sum(b2 ** (t - 1 - k) * (losses[k, i] - losses[k - 1, i]) for k in range(1, t))
        assert printed[i] == pytest.approx(level + (b2 - b1) * change, abs=1e-13)
        older = b2**t * start[i] + (b2 - b1) * b2 ** (t - 1) * (losses[0, i] - start[i])
        assert rest[i] == pytest.approx(older, abs=1e-13)
    assert np.abs(rest).max() < 2 * b2**t * (losses.max() + start.max())


def test_the_new_score_in_the_weight_would_break_the_difference_form():
    losses, start = drawn(3)
    score, literal = start, []
    for loss in losses:
        score = 0.9 * score + 0.1 * loss
        literal.append(0.2 * score + 0.8 * loss)
    assert np.abs(np.array(literal) - flows.difference_form(losses, start, 0.2, 0.9)).max() > 0.01


@pytest.mark.parametrize(("beta1", "beta2"), PARAMETERS)
def test_ascent_above_the_reference_gives_the_same_weights(beta1, beta2):
    losses, start = drawn(4)
    weights = by_hand(losses, start, beta1, beta2)[0]
    np.testing.assert_allclose(flows.robust_weights(losses, start, beta1, beta2), weights, rtol=0, atol=1e-12)
    references = flows.reference_losses(losses, start, beta1, beta2)
    for t in (1, 2, 5):
        for i in range(7):
            old = sum(beta2 ** (t - 1 - k) * losses[k - 1, i] for k in range(1, t))
            printed = (1 - 2 * beta1 + beta1 * beta2) * losses[t - 1, i] + beta1 * (1 - beta2) ** 2 * old
            printed += beta1 * (1 - beta2) * beta2 ** (t - 1) * start[i]
            assert references[t - 1, i] == pytest.approx(printed / (1 - beta1), abs=1e-13)


@pytest.mark.parametrize(("beta1", "beta2"), [*PARAMETERS, (0.6, 0.2), (0.9, 0.9), (0.6, 0.4)])
def test_the_reference_is_an_affine_average_without_negative_weights_under_its_condition(beta1, beta2):
    for t in (1, 2, 9):
        weights = flows.reference_weights(t, beta1, beta2)
        assert len(weights) == t + 1
        assert weights.sum() == pytest.approx(1, abs=1e-12)
        assert (weights.min() >= 0) == (beta1 * (2 - beta2) <= 1)


def plain_advantage(losses):
    n, total = len(losses), sum(losses)
    above = [v for v in losses if v / total > 1 / n]
    below = [v for v in losses if not v / total > 1 / n]
    return (min(above) - max(below)) * sum(v / total - 1 / n for v in above) if above else 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100])
def test_the_spread_is_the_gain_of_weighting_and_never_below_the_advantage(n):
    for seed in range(20):
        losses = np.random.default_rng([n, seed]).exponential(1.0, n)
        gain = (losses**2).sum() / losses.sum() - losses.mean()
        assert flows.spread(losses) == pytest.approx(gain, abs=1e-12)
        assert flows.advantage(losses) == pytest.approx(plain_advantage(losses.tolist()), abs=1e-12)
        assert 0 <= flows.advantage(losses) <= flows.spread(losses) + 1e-15
        assert (flows.advantage(losses) > 0) == (n > 1)
    assert flows.advantage(np.full(n, 0.3)) == flows.spread(np.zeros(n)) == 0.0


def least_squares(seed, hinge):
    """A convex problem with zero loss at the optimum, which is returned too."""
    rng = np.random.default_rng(seed)
    n, p = 8, 5
    a, optimum = rng.standard_normal((n, p)), rng.standard_normal(p)
    targets = a @ optimum

    def problem(theta):
        missed = a @ theta - targets
        if hinge:
            missed = np.maximum(missed, 0)
        return missed**2 / 2, missed[:, None] * a

    return problem, optimum, rng.standard_normal(p) * 2


@pytest.mark.parametrize("hinge", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_the_proposition_holds_on_convex_problems_with_the_sharper_term(seed, hinge):
    problem, optimum, start = least_squares(seed, hinge)
    path = flows.flow(problem, start, time=4.0, steps=80)
    found = flows.proposition1(path, optimum)
    assert (found.left <= found.sharper).all()
    assert (found.sharper <= found.right).all()
    assert found.sharper[-1] < found.right[-1]
    # Instantaneous: the squared distance falls at least by twice (mean loss + spread).
    distance = ((path.parameters - optimum) ** 2).sum(axis=1)
    pull = path.loss + np.array([flows.spread(row) for row in path.losses])
    fallen = np.diff(distance) / np.diff(path.times)
    assert (fallen <= -2 * np.minimum(pull[1:], pull[:-1]) + 1e-9).all()


def test_the_sharper_term_is_tight_for_losses_that_are_distances():
    slopes = np.array([0.5, 1.0, 2.5])

    def distances(theta):
        return slopes * np.abs(theta[0]), (slopes * np.sign(theta[0]))[:, None]

    path = flows.flow(distances, np.array([1.7]), time=0.5, steps=200)
    found = flows.proposition1(path, np.zeros(1))
    s, end = path.times[-1], path.parameters[-1, 0]
    assert end > 0.1
    # Half the fall of the squared distance is the whole integral of mean loss and spread.
    assert found.left[-1] == pytest.approx(found.sharper[-1] - end**2 / (2 * s), abs=1e-5)
    assert found.left[-1] < found.right[-1] - end**2 / (2 * s) - 0.1


def test_the_flow_is_that_of_small_euler_steps():
    problem, _, start = least_squares(3, hinge=False)
    for weighting in ("loss", "equal"):
        theta = start.copy()
        for _ in range(4000):
            losses, gradients = problem(theta)
            share = losses / losses.sum() if weighting == "loss" else np.full(8, 1 / 8)
            theta = theta - 1e-4 * share @ gradients
        path = flows.flow(problem, start, time=0.4, steps=100, weighting=weighting)
        assert path.times[-1] == pytest.approx(0.4, rel=1e-12)
        np.testing.assert_allclose(path.parameters[-1], theta, rtol=0, atol=2e-3)


def counterexample(theta):
    return (
        np.array([50 * theta[0] ** 2, theta[1] ** 2 / 2]),
        np.array([[100 * theta[0], 0.0], [0.0, theta[1]]]),
    )


@pytest.mark.parametrize(("time", "weighted", "equal"), [(0.03, 0.2643, 0.2457), (3.0, 0.0007, 0.01245)])
def test_weighting_by_the_loss_can_be_behind_at_equal_time(time, weighted, equal):
    ends = [
        flows.flow(counterexample, np.array([0.05, 1.0]), time, 300, weighting).loss[-1]
        for weighting in ("loss", "equal")
    ]
    assert ends == pytest.approx([weighted, equal], abs=6e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: flows.decoupled(drawn(1)[0], 0.0, 1.2, 0.9),
            r"decoupled\.beta1 must be in \[0, 1\], got 1\.2",
        ),
        (
            lambda: flows.difference_form(drawn(1)[0], 0.0, 0.2, 1.0),
            r"difference_form\.beta2 must be in \[0, 1\)",
        ),
        (lambda: flows.robust_weights(drawn(1)[0], 0.0, 1.0, 0.9), r"reference_weights\.beta1 must be in"),
        (
            lambda: flows.decoupled(np.full((2, 2), np.nan), 0.0, 0.2, 0.9),
            r"decoupled\.losses must be a matrix of finite numbers",
        ),
        (
            lambda: flows.advantage(np.array([1.0, -1.0])),
            r"advantage\.losses must be a vector of finite numbers >= 0",
        ),
        (lambda: flows.flow(counterexample, np.zeros(2), time=0.0), r"flow\.time must be > 0"),
        (lambda: flows.reference_weights(0, 0.2, 0.9), r"reference_weights\.t must be >= 1"),
    ],
)
def test_bad_arguments_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
