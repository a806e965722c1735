"""Finished runs beside one another: cells, lines and differences by plain arithmetic."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import spearmanr, t

from samplewise.analysis import Published, Result, accuracy_by_keep, beside_published, over_two


def runs_of(values, recipe="tdds", seeds=2, **fixed):
    """Runs of a recipe for every pair (T, window), with the result T + window / 10 + seed."""
    return [
        Result(f"{recipe}:T={T},window={w}", recipe, {"T": T, "window": w, **fixed}, seed, T + w / 10 + seed)
        for (T, w), seed in itertools.product(values, range(seeds))
    ]


def test_a_cell_is_the_mean_over_seeds_and_a_pair_that_was_not_run_is_missing():
    runs = [*runs_of([(10, 3), (20, 3), (20, 5)], keep=0.3), Result("full", "full", {}, 0, 90.0)]
    grid = over_two(runs, "T", "window")
    assert (grid.recipe, grid.xs, grid.ys, grid.fixed) == ("tdds", (10.0, 20.0), (3.0, 5.0), {"keep": 0.3})
    np.testing.assert_allclose(grid.mean, [[10.8, 20.8], [math.nan, 21.0]])
    np.testing.assert_allclose(grid.spread, [[0.5**0.5] * 2, [math.nan, 0.5**0.5]])
    assert grid.seeds.tolist() == [[2, 2], [0, 2]]


def test_a_grid_of_other_things_than_two_parameters_is_refused():
    runs = runs_of([(10, 3), (20, 5)], beta=0.9)
    with pytest.raises(ValueError, match=r"also differ in beta \(0.8, 0.9\)"):
        over_two([*runs, *runs_of([(10, 5)], beta=0.8)], "T", "window")
    grid = over_two([*runs, *runs_of([(10, 5)], beta=0.8)], "T", "window", where={"beta": 0.9})
    assert grid.seeds.tolist() == [[2, 0], [0, 2]]
    for arguments, said in (
        ({"x": "T", "y": "T"}, "two parameters, got 'T' twice"),
        ({"x": "T", "y": "windw"}, r"'windw' is no parameter. Did you mean 'window'\?"),
        ({"x": "T", "y": "beta"}, "beta must have at least two values, got only 0.9"),
        ({"x": "T", "y": "window", "recipe": "ucb"}, "no run of ucb has a number"),
        ({"x": "T", "y": "window", "where": {"beta": 0.5}}, "no run has beta=0.5: it is 0.9"),
    ):
        with pytest.raises(ValueError, match=said):
            over_two(runs, **arguments)
    with pytest.raises(ValueError, match="seed 0 has several"):
        over_two([*runs, *runs], "T", "window")
    with pytest.raises(ValueError, match="several methods have T and window: other, tdds"):
        over_two([*runs, *runs_of([(10, 3)], "other", beta=0.9)], "T", "window")


def test_a_line_of_accuracy_against_keep_names_only_what_differs():
    def run(recipe, keep, seed, value, **other):
        return Result(f"{recipe}:{keep}{other}", recipe, {"keep": keep, "c": 1, **other}, seed, value, 100)

    runs = [run("ucb", k, s, 100 * k + s, period=p) for k in (0.2, 0.4) for s in (0, 1) for p in (5, 10)]
    runs += [run("rs2", k, 0, 50.0) for k in (0.2, 0.4)] + [Result("full", "full", {}, 0, 90.0, 100)]
    found = {line.method: line for line in accuracy_by_keep(runs)}
    assert found.keys() == {"ucb:period=5", "ucb:period=10", "rs2", "full"}
    assert (found["ucb:period=5"].x, found["ucb:period=5"].mean) == ([0.2, 0.4], [20.5, 40.5])
    with pytest.raises(ValueError, match="at least two values of keep, got rs2"):
        accuracy_by_keep([run("rs2", 0.5, 0, 50.0)])


def published(method, value, ours, setting="A"):
    return Published(method, setting, value, "Table 1", ours)


ROWS = [
    published("full", 95.0, [80.0, 82.0, 81.0]),
    published("el2n", 90.0, [70.0, 71.0, 72.0]),
    published("tdds", 93.0, [75.0, 79.0, 80.0]),
    published("random", 91.0, []),
    published("aum", 60.0, [71.0, 75.0, 73.0]),
]


def test_differences_to_the_reference_are_paired_by_seed():
    found = beside_published(ROWS, reference="full")
    el2n, tdds, random, aum = found.rows
    assert (el2n.theirs, el2n.mean, el2n.difference) == (-5.0, -10.0, -5.0)
    half = t.ppf(0.975, 2) * np.std([-5, -3, -1], ddof=1) / 3**0.5
    assert (tdds.mean, tdds.low, tdds.high) == pytest.approx((-3.0, -3 - half, -3 + half))
    assert (random.theirs, random.mean, random.difference) == (-4.0, None, None)
    assert aum.difference == pytest.approx(-8 + 35)
    expected = spearmanr([-5, -2, -35], [-10, -3, -8]).statistic
    assert found.agreement == {"A": pytest.approx(expected)}


def test_without_a_reference_the_numbers_themselves_are_compared():
    found = beside_published(ROWS)
    assert [one.difference for one in found.rows] == [-14.0, -19.0, -15.0, None, 13.0]
    assert beside_published(ROWS[3:4]).agreement == {}


def test_published_numbers_that_cannot_be_compared_are_refused():
    for rows, reference, said in (
        ([], None, "at least one published number"),
        ([*ROWS, ROWS[0]], None, "full has two rows in A"),
        ([published("el2n", math.nan, [])], None, "must be finite, got nan"),
        (ROWS, "fll", "A must have a row of the reference fll"),
        (
            [ROWS[0], published("el2n", 1.0, [1.0])],
            "full",
            "el2n has 1 of our runs, and the reference full has 3",
        ),
        (ROWS[:1], "full", "a method beside the reference full"),
    ):
        with pytest.raises(ValueError, match=said):
            beside_published(rows, reference)
