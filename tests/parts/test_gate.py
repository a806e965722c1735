"""The gate's test: exact by counting signs, and right about simulated step times over all its looks."""

import itertools
import math
import random

import numpy as np
import pytest

from samplewise.loop.gate import LEVEL, LOOKS, Comparison, Gate, chance_above, typical

FIRST, ROUND, MEASURED = 7, 8, 3


def counted(differences):
    """The p of the signed-rank test by trying every way to put signs, with ranks of ties shared."""
    sizes = [abs(x) for x in differences if x]
    ranks = [sum(s < size for s in sizes) + (sum(s == size for s in sizes) + 1) / 2 for size in sizes]
    observed = sum(rank for rank, x in zip(ranks, (x for x in differences if x), strict=True) if x > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return sum(total >= observed for total in sums) / len(sums)


def test_the_signed_rank_test_is_exact():
    rng = random.Random(0)
    for size in (1, 2, 5, 9):
        for _ in range(20):
            drawn = [rng.choice([-3, -2, -1, 0, 1, 2, 3, 0.5]) for _ in range(size)]
            if any(drawn):
                assert chance_above(drawn) == pytest.approx(counted(drawn))
    assert chance_above([]) == chance_above([0.0, 0.0]) == 1


def test_rounding_makes_no_difference():
    assert chance_above([1e-16, -1e-16, 3e-12]) == 1
    assert chance_above([0.1 + 0.2, 0.3, -(0.1 + 0.2)]) == chance_above([0.3, 0.3, -0.3])


def seconds(rng, steps, kind):
    """Seconds of steps: log-normal; with outliers of up to 30 times; with a drift that remembers."""
    noise = rng.normal(0, 0.3, steps)
    if kind != "even":
        noise += np.log(np.where(rng.random(steps) < 0.05, rng.uniform(3, 30, steps), 1))
    if kind == "drift":
        noise += np.convolve(rng.normal(0, 0.2, steps), 0.97 ** np.arange(400))[:steps]
    if kind == "trend":
        noise += np.linspace(0, 3, steps)
    return np.exp(noise)


def simulated(rng, cost, kind):
    """The verdict, and the steps until then, if a narrowed step takes `cost` of a plain one."""
    comparison = Comparison(FIRST, 1.0)
    times = seconds(rng, ROUND * FIRST << LOOKS, kind).reshape(-1, 2, ROUND // 2)
    for number, blocks in enumerate(times, 1):
        order = rng.permutation(2)
        narrowed, plain = (np.median(blocks[i][-MEASURED:]) for i in order)
        comparison.costs.append(cost * narrowed / plain)
        if comparison.due and (verdict := comparison.look(comparison.costs)) != "open":
            return verdict, ROUND * number
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize(
    ("kind", "runs"), [("even", 300), ("outliers", 400), ("drift", 1000), ("trend", 300)]
)
def test_noise_alone_turns_selection_off_in_at_most_5_percent_of_runs(kind, runs):
    rng = np.random.default_rng(1)
    off = sum(simulated(rng, 1.0, kind)[0] == "costs" for _ in range(runs))
    # 5 % of runs, and 3 standard deviations of a count.
    assert 0 < off <= runs * LEVEL + 3 * math.sqrt(runs * LEVEL * (1 - LEVEL))


@pytest.mark.parametrize("kind", ["even", "outliers", "drift", "trend"])
def test_a_costly_selection_is_turned_off_soon_and_a_cheap_one_never(kind):
    rng = np.random.default_rng(2)
    for cost, within in ((3.0, ROUND * FIRST), (1.5, 4 * ROUND * FIRST)):
        found = [simulated(rng, cost, kind) for _ in range(60)]
        assert all(verdict == "costs" for verdict, _ in found)
        assert np.median([steps for _, steps in found]) <= within
    cheap = [simulated(rng, 0.6, kind) for _ in range(300)]
    assert all(verdict == "pays" for verdict, _ in cheap)


def test_all_looks_together_may_be_wrong_with_5_percent():
    assert sum(LEVEL / 2 ** (look + 1) for look in range(LOOKS)) < LEVEL
    comparison = Comparison(6, 1.0)
    # 6 of 6 above have the chance 1/64 = 0.016: enough for the first look, which may spend 0.025.
    assert comparison.look([1.1] * 6) == "costs"
    # The second look may spend half of it.
    assert comparison.look([1.1] * 6) == "open"


def test_the_margin_is_part_of_the_limit():
    assert Gate(margin=0.2).limit == 0.8
    assert Comparison(10, Gate(margin=0.2).limit).look([0.9] * 10) == "costs"
    assert Comparison(10, Gate(margin=0.0).limit).look([0.9] * 10) == "pays"


def test_it_ends_undecided_and_unmeasured():
    comparison = Comparison(10, 1.0)
    said = [comparison.look([1.01, 1 / 1.01] * 50) for _ in range(LOOKS)]
    assert said == ["open"] * (LOOKS - 1) + ["undecided"]
    assert Comparison(10, 1.0).look([None] * 6 + [2.0] * 4) == "unmeasured"
    assert typical([None, 3.0, 1.0, 2.0]) == 2.0


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"Gate.margin must be in \[0, 1\), got 1."):
        Gate(margin=1)
    with pytest.raises(ValueError, match=r"Gate.probation must be >= 20, got 5."):
        Gate(probation=5)
