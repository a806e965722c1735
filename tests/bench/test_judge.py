"""The judge: errors at their stated rates, effects found at their stated size, references by hand."""

import numpy as np
import pytest

from samplewise.bench.judge.ladder import Ladder, nearest_below, rungs
from samplewise.bench.judge.verdicts import Differences, detectable, judge

DELTA = 0.3
EPOCHS = 16


def curve(epochs):
    """Accuracy of ordinary training by its length: concave, and still rising at the end."""
    return 70 - 30 * np.exp(-np.asarray(epochs, dtype=float) / 6)


def study(rng, seeds, methods, effect=0.0, noise=0.5, true=curve):
    """Differences of methods that are ordinary training of a whole number of epochs, plus an effect."""
    lengths = rungs(EPOCHS)
    cost = np.repeat(3.0 * np.array(lengths)[:, None], seeds, axis=1)
    test, validation = (true(lengths)[:, None] + noise * rng.standard_normal(cost.shape) for _ in range(2))
    ladder, found = Ladder(cost, test, validation), {}
    for i in range(methods):
        own = 3 + 2 * (i % 6)
        results = true(own) + effect + noise * rng.standard_normal(seeds)
        exact = true(own) + noise * rng.standard_normal(seeds)
        against = np.array([ladder.at(seed, 3.0 * own) for seed in range(seeds)])
        found[f"method {i}"] = Differences(results - against, results - exact)
    return found


def test_without_an_effect_few_studies_say_better_or_worse(monkeypatch):
    """At most 5 % of 1,000 studies, and three standard errors."""
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects in every correction, for 0.2 s
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(1000):
        words = {verdict.word for verdict in judge(study(rng, 5, 4), DELTA).values()}
        wrong += bool(words & {"better", "worse"})
    assert wrong / 1000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_an_effect_of_the_detectable_size_is_found_in_four_of_five_differences():
    """Student's test of one control has power .8 at the size that is said."""
    rng, methods, seeds = np.random.default_rng(1), 12, 10
    size = detectable(np.array([-1.0, 1.0] * (seeds // 2)), methods) / np.sqrt(seeds / (seeds - 1))
    found = 0
    for _ in range(1000):
        values = size + rng.standard_normal(seeds)
        t = values.mean() / (values.std(ddof=1) / np.sqrt(seeds))
        found += abs(t) > 4.27  # the quantile of t with 9 degrees of freedom at .05 / 48
    assert 0.7 < found / 1000 < 0.9


@pytest.mark.parametrize(("effect", "word"), [(4.0, "better"), (-4.0, "worse")])
def test_a_large_effect_gets_its_word(effect, word):
    found = study(np.random.default_rng(2), 10, 6, effect)
    assert {verdict.word for verdict in judge(found, DELTA).values()} == {word}


def test_as_good_needs_both_controls_inside_delta():
    rng = np.random.default_rng(3)
    near, far = 0.01 * rng.standard_normal(10), 0.29 + 0.2 * rng.standard_normal(10)
    verdicts = judge({"near": Differences(near, near), "far": Differences(near, far)}, DELTA)
    assert verdicts["near"].word == "as good"
    assert verdicts["far"].word != "as good"


def test_better_needs_both_controls():
    rng = np.random.default_rng(7)
    above, level = 5 + rng.standard_normal(10), rng.standard_normal(10)
    level += 0.1 - level.mean()  # above 0 in the mean, but not shown to be
    pairs = {"both": (above, above), "ladder": (above, level), "exact": (level, above)}
    verdicts = judge({name: Differences(*pair) for name, pair in pairs.items()}, DELTA)
    assert {name: verdict.word for name, verdict in verdicts.items()} == {
        "both": "better",
        "ladder": "not shown",
        "exact": "not shown",
    }


def test_worse_than_one_control_is_worse():
    rng = np.random.default_rng(8)
    below, level = -5 + rng.standard_normal(10), rng.standard_normal(10)
    pairs = (below, level), (level, below), (below, -below)
    verdicts = judge({str(i): Differences(*pair) for i, pair in enumerate(pairs)}, DELTA)
    assert {verdict.word for verdict in verdicts.values()} == {"worse"}


def test_few_seeds_and_values_that_do_not_vary_show_nothing():
    rng = np.random.default_rng(4)
    values = 5 + rng.standard_normal(4)
    assert judge({"few": Differences(values, values)}, DELTA)["few"].word == "too few seeds"
    same = np.full(6, 5.0)
    assert judge({"same": Differences(same, same)}, DELTA)["same"].word == "not shown"


def test_a_better_method_inside_delta_says_so():
    values = 0.1 + 0.001 * np.arange(10.0)
    verdict = judge({"small": Differences(values, values)}, DELTA)["small"]
    assert (verdict.word, verdict.inside, verdict.above) == ("better", True, 1.0)
    assert verdict.interval[0] < values.mean() < verdict.interval[1]
    assert verdict.bootstrap is not None


@pytest.mark.parametrize(("seeds", "said"), [(5, 3.96), (10, 1.69)])
def test_the_detectable_difference_is_the_protocols(seeds, said):
    values = np.random.default_rng(5).standard_normal(seeds)
    assert detectable(values, 12) / values.std(ddof=1) == pytest.approx(said, abs=0.05)


def test_the_reference_is_linear_between_rungs():
    ladder = Ladder(*(np.array([[1.0, 1.0], [3.0, 3.0]]) * scale for scale in (1, 10, 10)))
    assert ladder.at(0, 2.0) == 20.0
    with pytest.raises(ValueError, match=r"the cost 0\.5 lies outside the ladder, which goes from 1 to 3"):
        ladder.at(0, 0.5)


def test_where_longer_is_worse_a_cheaper_rung_is_the_reference():
    """The other seeds decide on validation; the seed's own result at that rung counts."""
    cost = np.array([[1.0] * 3, [2.0] * 3, [3.0] * 3])
    falling = np.array([[50.0, 51.0, 49.0], [60.0, 61.0, 59.0], [40.0, 41.0, 39.0]])
    ladder = Ladder(cost, falling, falling)
    assert [ladder.at(seed, 2.5) for seed in range(3)] == [60.0, 61.0, 59.0]
    rng = np.random.default_rng(6)
    results = 55 + 0.1 * rng.standard_normal(3)  # above the line between the rungs, below the cheaper one
    against = np.array([ladder.at(seed, 2.5) for seed in range(3)])
    assert (results - against < 0).all()


def test_a_seeds_own_luck_does_not_decide_its_reference():
    cost = np.array([[1.0] * 3, [2.0] * 3])
    validation = np.array([[90.0, 10.0, 10.0], [20.0, 20.0, 20.0]])
    test = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert Ladder(cost, test, validation).at(0, 2.0) == 4.0


def test_rungs_that_coincide_are_dropped():
    assert rungs(16) == (2, 4, 6, 8, 10, 12, 16)
    assert rungs(2) == (1, 2)
    assert nearest_below({2: 6.0, 4: 12.0, 6: 18.0}, 17.0) == 4
    assert nearest_below({2: 6.0}, 5.0) is None


def test_a_task_that_gains_nothing_at_the_end_is_told():
    cost = np.array([[4.0], [8.0], [12.0]])
    flat, rising = np.array([[50.0], [60.0], [60.1]]), np.array([[50.0], [60.0], [61.0]])
    assert not Ladder(cost, flat, flat).gains_at_the_end(DELTA)
    assert Ladder(cost, rising, rising).gains_at_the_end(DELTA)
    assert Ladder(cost, rising, flat).gains_at_the_end(DELTA)
    assert not Ladder(cost, flat, rising).gains_at_the_end(DELTA)


def test_rungs_beyond_full_training_do_not_count_for_its_last_third() -> None:
    """The gain from 2/3 of 4 epochs to 4 is 0, whatever comes later."""
    cost = np.arange(1.0, 7.0)[:, None].repeat(5, axis=1)
    test = np.array([1.0, 2.0, 2.0, 2.0, 9.0, 9.0])[:, None].repeat(5, axis=1)
    assert not Ladder(cost, test, test).gains_at_the_end(DELTA, full=3)
    assert Ladder(cost, test, test).gains_at_the_end(DELTA)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Ladder(*[np.ones((1, 3))] * 3), "at least 2 rungs, got 1"),
        (lambda: Ladder(*[np.ones((2, 3))] * 3), "must ascend"),
        (lambda: Ladder(np.ones((2, 3)), np.ones((2, 2)), np.ones((2, 3))), "of one shape"),
        (lambda: Differences(np.ones(2), np.ones(3)), "one number a seed for both controls"),
        (lambda: Differences(np.array([np.nan]), np.ones(1)), "must be finite"),
        (lambda: judge({}, 0.0), "delta must be > 0, got 0"),
        (lambda: judge({}, 0.1, alpha=1.0), r"alpha must be in \(0, 1\), got 1"),
    ],
)
def test_bad_input_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
