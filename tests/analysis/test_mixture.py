"""Three truncated normals: the density, the fit, and how certain it is, against scipy and planted ones."""

import numpy as np
import pytest
from scipy import integrate, stats

from samplewise.analysis.mixture import Mixture, fit_mixture, selection_split_logpdf
from samplewise.analysis.posterior import sample_mixture

PLANTED = Mixture((0.3, 0.5, 0.2), (0.0, 8.0, 20.0), (2.0, 3.0, 1.0), 20)
AT_80 = Mixture((0.5, 0.35, 0.15), (3.0, 30.0, 75.0), (4.0, 12.0, 5.0), 80)


def frozen(mixture):
    """The components as scipy has them."""
    for mu, s in zip(mixture.means, mixture.widths, strict=True):
        yield stats.truncnorm(-mu / s, (mixture.checkpoints - mu) / s, loc=mu, scale=s)


def law(mixture):
    """The share of samples with each count, if counts are rounded draws: no chance, so a narrow test."""
    edges = np.clip(np.arange(mixture.checkpoints + 2) - 0.5, 0, mixture.checkpoints)
    parts = zip(mixture.shares, frozen(mixture), strict=True)
    return sum(share * np.diff(one.cdf(edges)) for share, one in parts)


@pytest.mark.parametrize("mixture", [PLANTED, AT_80])
def test_the_density_is_that_of_scipy_and_integrates_to_one(mixture):
    at = np.linspace(0, mixture.checkpoints, 57)
    wanted = sum(share * one.pdf(at) for share, one in zip(mixture.shares, frozen(mixture), strict=True))
    np.testing.assert_allclose(np.exp(mixture.logpdf(at)), wanted, rtol=1e-9)
    whole, _ = integrate.quad(lambda c: np.exp(mixture.logpdf(c)[0]), 0, mixture.checkpoints, points=[3, 30])
    assert whole == pytest.approx(1, abs=1e-7)
    assert (mixture.logpdf([-0.1, mixture.checkpoints + 0.1]) == -np.inf).all()


def test_a_component_without_share_adds_nothing():
    two = selection_split_logpdf([5.0], (0.0, 1.0, 0.0), (0.0, 8.0, 20.0), (2.0, 3.0, 1.0), 20)
    assert two[0] == pytest.approx([*frozen(PLANTED)][1].logpdf(5.0))


@pytest.mark.parametrize("mixture", [PLANTED, AT_80])
def test_a_planted_mixture_is_found_again(mixture):
    histogram = law(mixture)
    found = fit_mixture(histogram)
    np.testing.assert_allclose(found.shares, mixture.shares, atol=0.003)
    np.testing.assert_allclose(found.means, mixture.means, atol=0.13)
    np.testing.assert_allclose(found.widths, mixture.widths, rtol=0.05)
    counts = np.arange(len(histogram))
    assert found.logpdf(counts) @ histogram >= mixture.logpdf(counts) @ histogram
    assert found.notes == ()


def test_counts_at_both_ends_only_are_two_groups():
    found = fit_mixture([70, 0, 0, 0, 0, 30])
    assert found.limits == pytest.approx((0.5, 4.5))
    (note,) = found.notes
    assert "its mean and width say nothing" in note or "lie together" in note


def test_one_hump_is_no_three_groups_and_the_notes_say_so():
    found = fit_mixture(stats.binom.pmf(np.arange(21), 20, 0.3))
    assert any("lie together" in note for note in found.notes)
    assert any("never comes first" in note for note in found.notes)


@pytest.mark.parametrize(
    ("histogram", "said"),
    [
        ([0, 0, 9], "all samples have the count 2 of 2"),
        ([4, 5], "checkpoints must be >= 2, got 1"),
        ([1, -1, 4], r"np\.bincount\(counts, minlength=checkpoints \+ 1\)"),
        ([0, 0, 0], r"np\.bincount\("),
    ],
)
def test_counts_without_a_split_are_refused(histogram, said):
    with pytest.raises(ValueError, match=said):
        fit_mixture(histogram)


def test_a_mixture_says_what_it_must_be():
    with pytest.raises(ValueError, match="shares must add up to 1"):
        Mixture((0.5, 0.1, 0.1), (0.0, 1.0, 2.0), (1.0, 1.0, 1.0), 5)
    with pytest.raises(ValueError, match="means must ascend and be at most 5"):
        Mixture((0.5, 0.4, 0.1), (0.0, 1.0, 6.0), (1.0, 1.0, 1.0), 5)


def test_the_posterior_is_around_the_planted_mixture_and_leaves_numpys_generator():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - this is what must not change
    histogram = 4000 * law(PLANTED)
    found = sample_mixture(histogram, steps=80, burn_in=80)
    again = sample_mixture(histogram, steps=80, burn_in=80)
    assert np.array_equal(found.shares, again.shares)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    for part, planted in (("shares", PLANTED.shares), ("means", PLANTED.means), ("widths", PLANTED.widths)):
        draws = getattr(found, part)
        spread = draws.std(0)
        assert (abs(draws.mean(0) - planted) < 4 * spread + 0.02).all(), part
    # The spread of a share whose component does not overlap others is that of a binomial share.
    binomial = np.sqrt(0.2 * 0.8 / 4000)
    assert 0.6 * binomial < found.shares[:, 2].std() < 1.6 * binomial
    low, high = found.interval(found.groups())
    assert (low <= high).all()
    assert found.groups().sum(1) == pytest.approx(1)
