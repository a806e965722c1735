"""Shares from period to period (DynaMS, METHODS B6): published numbers, fitted budgets, whole sizes."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.pickers import ranking
from samplewise.schedules import (
    PUBLISHED,
    Periods,
    average,
    constant_shares,
    fit_budget,
    linear_shares,
    period_lengths,
    period_sizes,
    power_shares,
)

KINDS = ("constant", "linear", "power")


def test_the_published_numbers_average_to_the_published_budgets():
    def twelve(kind, budget):
        numbers = PUBLISHED[("imagenet", kind, budget)]
        if kind == "linear":
            shares = [1 - k * numbers["a"] for k in range(12)]
        else:
            shares = [1, *(numbers["m"] * k ** -numbers["r"] + numbers["b"] for k in range(1, 12))]
        assert list({"linear": linear_shares, "power": power_shares}[kind](12, **numbers)) == pytest.approx(
            shares
        )
        return round(sum(shares) / 12, 4)

    assert [twelve("power", b) for b in (0.6, 0.7, 0.8, 0.9)] == [0.6029, 0.6993, 0.8021, 0.9018]
    assert [twelve("linear", b) for b in (0.6, 0.7, 0.8, 0.9)] == [0.5985, 0.6975, 0.802, 0.901]
    cifar = linear_shares(20, **PUBLISHED[("cifar10", "linear", 0.6)])
    assert sum(cifar) / 20 == pytest.approx(0.6105)
    assert len(PUBLISHED) == 9


def test_the_published_numbers_are_used_as_they_are_without_fitting():
    schedule = Periods(0.6, "power", period=10, fit=False)
    assert [schedule.at(e, 120) for e in (0, 9, 10, 110)] == pytest.approx(
        [1, 1, 0.3984 + 0.2895, 0.3984 * 11**-0.2371 + 0.2895]
    )
    cifar = Periods(0.6, "linear", period=10, data="cifar10", fit=False)
    assert cifar.at(199, 200) == pytest.approx(1 - 19 * 0.041)
    with pytest.raises(ValueError, match=r"\('cifar10', 'power', 0.6\).*Known: \('imagenet', 'power', 0.6\)"):
        Periods(0.6, "power", data="cifar10", fit=False)


def test_a_constant_share_of_the_budget_06_becomes_05636_with_twelve_periods():
    assert Periods(0.6, "constant", period=2).at(23, 24) == pytest.approx(0.6 * 12 / 11 - 1 / 11)
    assert round(Periods(0.6, "constant", period=2).at(2, 24), 4) == 0.5636


@settings(max_examples=200)
@given(
    st.sampled_from(KINDS), st.floats(0.05, 1), st.integers(1, 12), st.integers(2, 60), st.integers(1, 5000)
)
def test_a_fitted_schedule_meets_its_budget_never_rises_and_stays_inside_its_range(
    kind, keep, period, periods, n
):
    epochs = max(2 * period, period * periods - (period - 1) // 2)
    schedule = Periods(keep, kind, period)
    lengths = period_lengths(epochs, period)
    lowest = (lengths[0] + 0.05 * sum(lengths[1:])) / epochs
    if keep < lowest:
        with pytest.raises(ValueError, match="never reaches its budget"):
            schedule.within(epochs)
        return
    shares = schedule.within(epochs).shares(epochs)
    assert shares[0] == 1
    assert all(0.05 <= later <= before + 1e-15 for before, later in itertools.pairwise(shares))
    assert math.fsum(
        share * length for share, length in zip(shares, lengths, strict=True)
    ) / epochs == pytest.approx(keep, abs=1e-12)
    assert average(shares, lengths) == pytest.approx(keep, abs=1e-12)
    sizes = period_sizes(shares, lengths, n)
    assert sizes[0] == n
    assert list(sizes) == sorted(sizes, reverse=True)
    assert all(abs(size - share * n) < 1.0001 for size, share in zip(sizes, shares, strict=True)) or n < 40
    if 0.05 * n >= 1:
        spent = sum(size * length for size, length in zip(sizes, lengths, strict=True))
        if len(set(lengths)) == 1:
            assert spent == period * math.floor(len(lengths) * keep * n + 0.5 + 1e-9) or (
                abs(len(lengths) * keep * n % 1 - 0.5) < 1e-6
            )
        assert abs(spent - epochs * keep * n) <= period


@settings(max_examples=100)
@given(st.floats(0.3, 0.99), st.integers(10, 3_000_000), st.sampled_from(KINDS))
def test_the_budget_of_a_share_that_knows_n_is_the_whole_size(keep, n, kind):
    schedule = Periods(keep, kind, period=2)
    sizes = period_sizes(schedule.shares(24), period_lengths(24, 2), n)
    known = schedule.sized(n)
    for k, size in enumerate(sizes):
        assert ranking.budget(n, known.at(2 * k + 1, 24)) == size
        assert (known.at(2 * k, 24) == 1) == (size == n)


def test_largest_remainders_get_the_samples_left_over_and_earlier_periods_win_ties():
    # 10, 6.4, 3.8, 3.8 sum to 24: 10 + 6 + 3 + 3 leave two, for the two remainders of 0.8
    assert period_sizes((1.0, 0.64, 0.38, 0.38), (2, 2, 2, 2), 10) == (10, 6, 4, 4)
    # 10, 4.5, 4.5: one is left, and the earlier has it
    assert period_sizes((1.0, 0.45, 0.45), (3, 3, 3), 10) == (10, 5, 4)
    # a last period of one epoch: 2 * (10 + 5) + 4 = 34 of 33.5 sample epochs, rounded
    assert period_sizes((1.0, 0.5, 0.35), (2, 2, 1), 10) == (10, 5, 4)


def test_fitting_shifts_by_one_number_and_clips():
    # Shifted by -0.1: 0.7, 0.4 and 0.1 average with the warm-up to 0.55.
    assert fit_budget((1.0, 0.8, 0.5, 0.2), (1, 1, 1, 1), 0.55) == pytest.approx((1, 0.7, 0.4, 0.1))
    # A share that rises is first brought down; the last is held at the least.
    assert fit_budget((1.0, 0.5, 0.6, 0.02), (1, 1, 1, 1), 0.5125) == pytest.approx((1, 0.5, 0.5, 0.05))
    assert constant_shares(2, 0.5) == (1.0, 0.5)


def test_bad_schedules_are_refused_before_training():
    with pytest.raises(ValueError, match=r"period must be at most half the 19 epochs.*got 10.*period=9"):
        Periods(0.6, period=10).within(19)
    with pytest.raises(
        ValueError, match=r"keep must be in \[0.525, 1\].*got 0.5: the schedule never reaches"
    ):
        Periods(0.5, period=10).within(20)
    with pytest.raises(ValueError, match=r"Periods.keep must be in \(0, 1\], got 0"):
        Periods(0.0)
