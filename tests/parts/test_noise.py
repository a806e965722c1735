"""`NoiseBudget` against slow solvers in plain Python: the threshold, the bound, the draw and its edges."""

import itertools
import math
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samplewise.pickers import NoiseBudget, Pool
from samplewise.pickers.noise import inflation, probabilities, systematic
from samplewise.rng import generator
from samplewise.schedules import Between, Constant, Linear
from tests.recipes.plain import close

NORMS = [0.0, 0.01, 0.05, 0.05, 0.2, 0.4, 0.7, 0.9, 1.2, 1.2, 1.4]
WAYS = ("none", "mean1")


def pool(scores, seed=0, least=0):
    return Pool(len(scores), generator(seed), {"g": torch.as_tensor(scores)}, "g", least=least)


def chance(g, tau, least):
    return min(1.0, max(least, g / tau))


def noise_at(tau, norms, least):
    """R by its definition."""
    total = math.fsum(g * g for g in norms)
    return math.fsum(g * g / chance(g, tau, least) for g in norms) / total


def solved(norms, noise, least):
    """The probabilities by halving an interval of tau until it has no number inside."""
    low, high = min(g for g in norms if g > 0), max(norms) / least
    if noise_at(high, norms, least) <= 1 + noise:
        low = high
    for _ in range(120):
        middle = (low + high) / 2
        low, high = (middle, high) if noise_at(middle, norms, least) <= 1 + noise else (low, middle)
    return [chance(g, low, least) for g in norms]


norms = st.lists(
    st.one_of(st.just(0.0), st.just(0.5), st.floats(1e-4, 1.5), st.floats(1e-12, 1e6)),
    min_size=1,
    max_size=40,
).filter(lambda found: max(found) > 0)


@given(norms, st.floats(0.001, 1), st.floats(1e-3, 0.9999))
def test_the_threshold_is_that_of_a_slow_solver(found, least, part):
    noise = part * (1 / least - 1)
    if noise < 1e-6:
        return
    mine = probabilities(np.array(found), noise, least)
    assert mine.tolist() == pytest.approx(solved(found, noise, least), rel=1e-8)
    # The bound holds, and is reached: no larger threshold fits.
    assert inflation(np.array(found), mine) == pytest.approx(1 + noise, rel=1e-9)


def test_two_norms_by_hand():
    # Above tau = 1 the small one stays with 1 / tau, the large one surely: R = (tau + 16) / 17 up to tau = 4.
    found = probabilities(np.array([1.0, 4.0]), noise=2 / 17, least=0.1)
    assert found.tolist() == pytest.approx([1 / 3, 1])
    # At R = 10 each has the least probability; a larger one needs a larger R.
    assert probabilities(np.array([1.0, 4.0]), noise=9.0, least=0.1).tolist() == pytest.approx([0.1, 0.1])


def test_no_other_probabilities_of_the_same_noise_keep_fewer():
    rng, scores = np.random.default_rng(0), np.array(NORMS[1:])
    mine = probabilities(scores, 0.5, 0.1)
    tried = 0
    for _ in range(2500):
        other = np.clip(mine * np.exp(rng.normal(0, rng.choice([0.01, 0.1, 0.5]), len(mine))), 0.1, 1)
        if inflation(scores, other) <= 1.5:
            tried += 1
            assert other.sum() >= mine.sum() - 1e-9
    assert tried > 300


@given(norms, st.floats(0.01, 1.0))
def test_more_noise_keeps_no_more(found, least):
    steps = [0.0, *(part * (1 / least - 1) for part in (1e-3, 0.05, 0.2, 0.5, 0.99))]
    sums = [float(probabilities(np.array(found), noise, least).sum()) for noise in steps]
    assert all(more <= less * (1 + 1e-9) for less, more in itertools.pairwise(sums))
    rows = []
    for noise in steps:
        picked = NoiseBudget(noise, least).pick(pool(np.array(found), seed=3))
        rows.append(len(found) if picked.rows is None else len(picked.rows))
    assert rows == sorted(rows, reverse=True)  # with the same draw, too


@given(norms, st.integers(-60, 60))
def test_the_unit_of_the_norms_has_no_meaning(found, power):
    scores = np.array(found)
    one, scaled = probabilities(scores, 0.5, 0.1), probabilities(scores * 2.0**power, 0.5, 0.1)
    assert scaled.tolist() == one.tolist()
    assert probabilities(scores * 0.3, 0.5, 0.1).tolist() == pytest.approx(one.tolist(), rel=1e-9)


def test_without_noise_every_row_stays_with_weight_one():
    for scores in ([0.0, 1e-45, 1.0], [0.0, 0.0], [5.0], [float("nan")] * 3):
        picked = NoiseBudget(0.0).pick(pool(torch.tensor(scores)))
        assert (picked.rows, picked.weights) == (None, None)
        assert picked.notes == {"keep": 1.0, "noise_inflation": 1.0, "step_growth": 1.0}
    assert NoiseBudget(0).everything
    assert not NoiseBudget(0.1).everything


def test_equal_norms_have_equal_probabilities():
    # R = 1 / pi for all.
    assert probabilities(np.full(1000, 0.1, np.float32), 0.5, 0.1).tolist() == pytest.approx([1 / 1.5] * 1000)


@pytest.mark.parametrize("scores", [[0.0] * 5, [float("nan")] * 5, [0.0, float("nan")] * 3])
def test_zeros_alone_and_unseen_rows_alone_are_all_kept(scores):
    picked = NoiseBudget(0.5).pick(pool(torch.tensor(scores)))
    assert (picked.rows, picked.weights) == (None, None)
    assert picked.notes["noise_inflation"] == 1.0


def test_an_unseen_row_stays_and_does_not_count_in_the_noise():
    seen = np.array(NORMS)
    mixed = np.insert(seen, [2, 7], np.nan)
    found = probabilities(mixed, 0.5, 0.1)
    assert found[[2, 8]].tolist() == [1.0, 1.0]
    assert np.delete(found, [2, 8]).tolist() == probabilities(seen, 0.5, 0.1).tolist()
    assert inflation(mixed, found) == pytest.approx(1.5)


@pytest.mark.parametrize(
    "scores",
    [
        [1e30, *NORMS],
        [1e-45, 1e-45, 3e-45, 1e-40],
        [1e-45, 1.0, 3.4e38],
        [3.4e38] * 4,
        [1e-30] * 200 + [1.0],
        [1.0] * 200 + [1e30],
    ],
)
@pytest.mark.parametrize("noise", [1e-300, 1e-9, 0.5, 9.0])
def test_the_ends_of_the_floats_keep_the_bound(scores, noise):
    given = torch.tensor(scores)
    picked = NoiseBudget(noise, normalize="none").pick(pool(given))
    assert picked.notes["noise_inflation"] <= 1 + noise + 1e-9
    exact = [Fraction(float(g)) for g in given]
    found = probabilities(given.numpy(), noise, 0.1)
    assert ((found >= 0.1) & (found <= 1)).all()
    total = sum(g * g for g in exact)
    real = float(sum(g * g / Fraction(float(pi)) for g, pi in zip(exact, found, strict=True)) / total)
    assert real <= 1 + noise + 1e-9
    assert real >= 1 + noise - 1e-6
    if picked.weights is not None:
        assert bool(((picked.weights >= 1) & (picked.weights <= 10.001)).all())


def test_one_row_is_always_kept():
    for least, noise in ((0.1, 9.0), (0.5, 0.5), (0.001, 900.0)):
        for seed in range(20):
            picked = NoiseBudget(noise, least).pick(pool(torch.tensor([0.7]), seed))
            assert (picked.rows, picked.weights) == (None, None)
            assert picked.notes == {"keep": 1.0, "noise_inflation": 1.0, "step_growth": 1.0}


def test_a_few_rows_with_small_probabilities_never_give_none():
    scores, rows, draws = torch.tensor([0.2, 0.2, 0.4]), [0, 0, 0], 600
    # By hand: 0.1 each is 0.3 in all, so each rises by 0.9 * 0.7 / 2.7 to 1 / 3.
    for seed in range(draws):
        picked = NoiseBudget(9.0, normalize="none").pick(pool(scores, seed))
        assert len(picked.rows) == 1
        assert picked.weights.tolist() == pytest.approx([3.0])
        rows[int(picked.rows)] += 1
    assert all(close(times / draws, 1 / 3, draws) for times in rows)
    assert all(len(NoiseBudget(9.0).pick(pool(scores, seed, least=2)).rows) == 2 for seed in range(50))


def test_every_row_is_drawn_with_its_own_probability():
    """Binomial by row, at 0.001 / rows: the draws of a systematic sample depend on each other."""
    from scipy.stats import binomtest

    found, draws = probabilities(np.array(NORMS), 0.5, 0.1), 2500
    times = np.zeros(len(found))
    for seed in range(draws):
        kept = systematic(found, generator(seed, "test"))
        assert abs(int(kept.sum()) - found.sum()) < 1
        times += kept
    for hits, pi in zip(times.astype(int).tolist(), found.tolist(), strict=True):
        assert binomtest(hits, draws, min(1.0, pi)).pvalue > 0.001 / len(found)
    assert all(times[found == 1] == draws)


def test_mean1_divides_the_weights_by_their_mean_over_the_draw():
    for seed in range(20):
        plain, scaled = (NoiseBudget(0.5, normalize=way).pick(pool(np.array(NORMS), seed)) for way in WAYS)
        assert scaled.rows.tolist() == plain.rows.tolist()
        assert scaled.weights.tolist() == pytest.approx((plain.weights / plain.weights.mean()).tolist())
        assert float(scaled.weights.mean()) == pytest.approx(1)


def test_the_order_is_random_so_every_pair_may_be_drawn():
    found = {
        tuple(np.flatnonzero(systematic(np.full(4, 0.5), generator(seed))).tolist()) for seed in range(200)
    }
    assert found == set(itertools.combinations(range(4), 2))  # in the order of the rows, 0 never met 1


def test_weighted_sums_are_unbiased():
    rng, draws = np.random.default_rng(1), 1000
    vectors = rng.normal(size=(len(NORMS), 3))
    found = probabilities(np.array(NORMS), 0.5, 0.1)
    sums = []
    for seed in range(draws):
        picked = NoiseBudget(0.5, normalize="none").pick(pool(np.array(NORMS), seed))
        assert picked.weights.tolist() == pytest.approx((1 / found[picked.rows.numpy()]).tolist())
        sums.append((picked.weights.numpy()[:, None] * vectors[picked.rows.numpy()]).sum(0))
    found_sums = np.array(sums)
    error = found_sums.std(0, ddof=1) / math.sqrt(draws)
    assert (abs(found_sums.mean(0) - vectors.sum(0)) < 4.5 * error).all()


def test_a_draw_of_a_whole_number_never_loses_a_row_to_rounding():
    for m in (3, 7, 10, 1000):
        chances = np.full(m, 1 / m)  # their float sum may be below 1
        assert all(systematic(chances, generator(seed)).sum() == 1 for seed in range(100))


def test_the_notes_are_those_of_the_draw():
    scores = np.array(NORMS)
    found = probabilities(scores, 0.5, 0.1)
    picked = NoiseBudget(0.5).pick(pool(scores))
    assert picked.notes["keep"] == len(picked.rows) / len(scores)
    assert picked.notes["noise_inflation"] == pytest.approx(1.5)
    assert picked.notes["step_growth"] == pytest.approx(len(scores) / math.fsum(found))


@pytest.mark.parametrize(("noise", "least"), [(20, 0.1), (0.5, 1), (9.01, 0.1), (Linear(0.5, 12.0), 0.1)])
def test_a_noise_that_no_probabilities_have_is_refused_at_the_start(noise, least):
    with pytest.raises(
        ValueError, match=r"NoiseBudget.noise must be at most 1 / least - 1 = \d+.*, got"
    ) as told:
        NoiseBudget(noise, least)
    assert str(told.value).endswith("Give less noise, or a smaller least.")


@pytest.mark.parametrize(("noise", "least"), [(9, 0.1), (0, 1), (1 / 0.3 - 1, 0.3), (Constant(9.0), 0.1)])
def test_the_largest_noise_is_accepted(noise, least):
    NoiseBudget(noise, least)
    NoiseBudget(Between(noise, outside=0.0, stop=0.5), least)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"noise": -0.1}, "noise must be >= 0, got -0.1"),
        ({"noise": math.nan}, "noise must be >= 0"),
        ({"noise": math.inf}, "noise must be at most"),
        ({"noise": "0.5"}, "noise must be a number or a schedule, got '0.5'"),
        ({"noise": True}, "noise must be a number or a schedule, got True"),
        ({"least": 0}, r"least must be in \[0.001, 1\], got 0"),
        ({"least": 1.5}, r"least must be in \[0.001, 1\], got 1.5"),
        ({"least": "1"}, "least must be a number, got '1'"),
        ({"normalize": "mean"}, "normalize must be one of 'mean1', 'none', got 'mean'. Did you mean 'mean1'"),
    ],
)
def test_parameters_out_of_range_are_refused(given, said):
    with pytest.raises(ValueError, match=f"NoiseBudget.{said}"):
        NoiseBudget(**given)


def test_a_million_rows_are_fast_and_keep_the_bound():
    scores = torch.rand(10**6, generator=generator(0)).pow(3)
    begun = time.process_time()
    picked = NoiseBudget(0.5).pick(pool(scores))
    assert time.process_time() - begun < 3
    assert picked.notes["noise_inflation"] == pytest.approx(1.5, rel=1e-9)
    assert abs(len(picked.rows) - 10**6 / picked.notes["step_growth"]) < 1
