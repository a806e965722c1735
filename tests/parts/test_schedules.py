"""Schedules as numbers, and their integer epoch boundaries."""

from fractions import Fraction

import pytest

from samplewise import pickers, schedules, trackers
from samplewise.schedules import Annealed, Between, Constant, Every, Linear, Power, complement, resolve

LENGTHS = [1, 2, 3, 4, 7, 10, 20, 30, 40, 90, 100, 160, 200, 300]


def test_the_simple_schedules_are_their_formulas():
    for epochs in (1, 3, 10):
        for e in range(epochs + 1):
            assert Constant(0.3).at(e, epochs) == 0.3
            assert Linear(1.0, 0.2).at(e, epochs) == pytest.approx(1 - 0.8 * e / epochs)
            assert Power(1.0, 0.2, exponent=2.0).at(e, epochs) == pytest.approx(1 - 0.8 * (e / epochs) ** 2)
            assert Every(3, value=1.0, otherwise=0.5).at(e, epochs) == (1.0 if e % 3 == 0 else 0.5)
            assert complement(Linear(1.0, 0.2)).at(e, epochs) == pytest.approx(0.8 * e / epochs)
    assert complement(0.25) == 0.75


@pytest.mark.parametrize("epochs", LENGTHS)
@pytest.mark.parametrize("share", ["0.1", "0.28", "0.3", "0.55", "0.6", "0.7", "0.8", "0.875", "0.9"])
def test_between_ends_at_the_exact_epoch(epochs, share):
    """By exact fractions: the last epoch inside is the last e with e < share * epochs."""
    until = Between(0.5, outside=1.0, stop=float(share))
    since = Between(0.5, outside=1.0, start=float(share))
    for e in range(epochs):
        inside = e < Fraction(share) * epochs
        assert until.at(e, epochs) == (0.5 if inside else 1.0), e
        assert since.at(e, epochs) == (1.0 if inside else 0.5), e


@pytest.mark.parametrize("epochs", LENGTHS)
@pytest.mark.parametrize("share", ["0.01", "0.05", "0.1", "0.15", "0.25", "0.45"])
def test_annealing_takes_whole_epochs_at_both_ends(epochs, share):
    schedule = Annealed(0.25, share=float(share))
    ends = max(1, int(Fraction(share) * epochs + Fraction(1, 2)))
    assert schedule.ends(epochs) == ends
    expected = [0.25 if ends <= e < epochs - ends else 1.0 for e in range(epochs)]
    assert [schedule.at(e, epochs) for e in range(epochs)] == expected


def test_the_annealing_of_common_lengths_as_numbers():
    schedule = Annealed(0.25, share=0.05)
    assert [schedule.ends(epochs) for epochs in (10, 30, 100, 200)] == [1, 2, 5, 10]
    until = Between(0.5, outside=1.0, stop=0.875)
    last = [max(e for e in range(epochs) if until.at(e, epochs) == 0.5) for epochs in (10, 30, 100, 200)]
    assert last == [8, 26, 87, 174]


def test_no_annealing_at_all():
    schedule = Annealed(0.25, share=0.0)
    assert [schedule.at(e, 3) for e in range(3)] == [0.25] * 3


def test_schedules_nest():
    schedule = Annealed(Between(0.2, outside=Linear(1.0, 0.0), stop=0.5), share=0.1)
    assert [schedule.at(e, 10) for e in (0, 1, 4, 5, 8, 9)] == pytest.approx([1.0, 0.2, 0.2, 0.5, 0.2, 1.0])


def test_resolve_gives_the_part_of_one_epoch():
    part = pickers.TopK(Linear(1.0, 0.5))
    assert resolve(part, 1, 2) == pickers.TopK(0.75)
    assert resolve(pickers.PerClass(part), 1, 2) == pickers.PerClass(pickers.TopK(0.75))
    plain = pickers.TopK(0.3)
    assert resolve(plain, 1, 2) is plain
    assert resolve(trackers.Last(), 0, 1) == trackers.Last()


@pytest.mark.parametrize("schedule", [Linear(1.5, 0.5), Linear(1.0, 0.0), Constant(70.0)])
def test_both_ends_of_a_schedule_are_checked_when_a_part_is_built(schedule):
    with pytest.raises(ValueError, match=r"TopK\.keep must be in \(0, 1\], got .* from "):
        pickers.TopK(schedule)


def test_a_schedule_is_checked_again_on_use():
    inside_ok_at_the_ends = Between(7.0, outside=1.0, start=0.4, stop=0.6)
    part = pickers.TopK(inside_ok_at_the_ends)
    with pytest.raises(ValueError, match=r"TopK\.keep must be in \(0, 1\], got 7\.0"):
        resolve(part, 5, 10)


def test_ranges_of_the_schedules_themselves():
    with pytest.raises(ValueError, match=r"Every\.period must be >= 1, got 0"):
        Every(0, value=1.0, otherwise=1.0)
    with pytest.raises(ValueError, match=r"Annealed\.share must be in \[0, 0\.5\), got 0\.5"):
        Annealed(0.5, share=0.5)
    with pytest.raises(ValueError, match=r"Power\.exponent must be > 0, got -1"):
        Power(1.0, 0.5, exponent=-1)


def test_a_schedule_of_ones_own_needs_at():
    class Mine(schedules.Schedule):
        """A schedule that says nothing."""

    with pytest.raises(TypeError, match=r"Mine must define at\(epoch, epochs\)"):
        Mine().at(0, 1)


def test_a_number_that_fixes_the_calendar_cannot_be_a_schedule():
    with pytest.raises(ValueError, match=r"Every\.period must be a whole number, got Constant"):
        Every(Constant(3), value=1.0, otherwise=1.0)
