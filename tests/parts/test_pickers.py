"""Pickers against slow references: exact counts, exact weights, who is kept for certain."""

import math
from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise import pickers
from samplewise.pickers import Pool
from samplewise.rng import generator

fast = settings(max_examples=60, deadline=None, derandomize=True)
nan = float("nan")


def pool(scores, seed=0, **more):
    return Pool(len(scores), generator(seed), {"loss": torch.as_tensor(scores)}, "loss", **more)


def rows(picked, m):
    return list(range(m)) if picked.rows is None else picked.rows.tolist()


BUDGETED = [pickers.Uniform, pickers.TopK, pickers.Weighted, pickers.EpsilonGreedy]


@pytest.mark.parametrize("kind", BUDGETED)
@fast
@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=40), st.integers(1, 20), st.integers(0, 9))
def test_a_budgeted_picker_keeps_its_exact_share_in_order(kind, scores, twentieths, seed):
    m, keep = len(scores), twentieths / 20
    picker = kind(keep)
    chosen = rows(picker.pick(pool(scores, seed)), m)
    k = m - math.floor((1 - Fraction(twentieths, 20)) * m)
    assert picker.size(m) == (k, True)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == k
    two = rows(picker.pick(pool(scores, seed, least=2)), m)
    assert len(two) == min(m, max(2, k))


def test_the_same_generator_gives_the_same_choice():
    scores = torch.rand(50, generator=generator("scores"))
    for kind in BUDGETED:
        first, again, other = (rows(kind(0.5).pick(pool(scores, seed)), 50) for seed in (1, 1, 2))
        assert first == again
        assert kind is pickers.TopK or first != other


def test_top_k_prefers_high_scores_and_the_never_observed():
    assert rows(pickers.TopK(0.5).pick(pool([1.0, nan, 3.0, 2.0])), 4) == [1, 2]
    named = Pool(
        3, generator(0), {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([3.0, 2.0, 1.0])}, "a"
    )
    assert rows(pickers.TopK(0.3, by="b").pick(named), 3) == [0]
    with pytest.raises(ValueError, match=r"a picker must rank by one of the columns \['a', 'b'\], got 'c'"):
        pickers.TopK(0.3, by="c").pick(named)


def test_equal_scores_in_a_batch_are_ordered_by_id():
    scores, ids = [1.0, 1.0, 1.0, 0.0], torch.tensor([9, 2, 5, 0])
    assert rows(pickers.TopK(0.5).pick(pool(scores, ids=ids)), 4) == [1, 2]


@fast
@given(st.integers(5, 60), st.integers(1, 19), st.sampled_from([0, 1, 3, 5, 10]), st.integers(0, 3))
def test_epsilon_greedy_explores_the_floor_of_its_share(m, twentieths, tenths, seed):
    scores = torch.arange(m).float()
    keep = twentieths / 20
    chosen = rows(pickers.EpsilonGreedy(keep, eps=tenths / 10).pick(pool(scores, seed)), m)
    k = m - math.floor((1 - Fraction(twentieths, 20)) * m)
    explored = math.floor(Fraction(tenths, 10) * k)
    greedy = set(range(m - (k - explored), m))
    assert len(chosen) == k
    assert greedy <= set(chosen)


def test_epsilon_greedy_draws_from_all_the_others_alike():
    draws, scores = 1500, torch.arange(10).float()
    counts = Counter()
    for seed in range(draws):
        counts.update(rows(pickers.EpsilonGreedy(0.5, eps=0.4).pick(pool(scores, seed)), 10))
    assert [counts[row] for row in (7, 8, 9)] == [draws] * 3
    for row in range(7):
        assert abs(counts[row] - draws * 2 / 7) < 5 * math.sqrt(draws * 2 / 7 * 5 / 7)


@fast
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(1, 20), st.integers(0, 3))
def test_per_class_divides_exactly(labels, twentieths, seed):
    m, labels = len(labels), torch.tensor(labels)
    for kind in BUDGETED:
        picker = pickers.PerClass(kind(twentieths / 20))
        chosen = rows(picker.pick(pool(torch.rand(m, generator=generator(seed)), seed, labels=labels)), m)
        k = m - math.floor((1 - Fraction(twentieths, 20)) * m)
        assert len(set(chosen)) == len(chosen) == k
        assert chosen == sorted(chosen)
        kept, sizes = Counter(labels[chosen].tolist()), Counter(labels.tolist())
        for c, size in sizes.items():
            assert math.floor(Fraction(k * size, m)) <= kept[c] <= math.ceil(Fraction(k * size, m))


def test_five_hundred_asked_are_five_hundred_given():
    labels = torch.arange(1000) % 33
    chosen = (
        pickers.PerClass(pickers.TopK(0.5))
        .pick(pool(torch.rand(1000, generator=generator(0)), labels=labels))
        .rows
    )
    assert len(chosen) == 500
    assert set(labels[chosen].bincount().tolist()) <= {15, 16}


def test_per_class_takes_the_best_of_each_class_and_skips_empty_ones():
    scores, labels = [9.0, 8.0, 7.0, 1.0, 2.0, 3.0], torch.tensor([0, 0, 0, 3, 3, 3])
    assert rows(pickers.PerClass(pickers.TopK(0.3)).pick(pool(scores, labels=labels)), 6) == [0, 5]
    with pytest.raises(ValueError, match=r"PerClass needs labels, got none. Give Selector\(\.\.\., labels="):
        pickers.PerClass(pickers.TopK(0.3)).pick(pool(scores))


@fast
@given(
    st.lists(st.one_of(st.just(nan), st.floats(-5, 5, width=32)), min_size=1, max_size=40),
    st.integers(2, 20),
    st.integers(0, 3),
)
def test_below_mean_drops_a_share_of_the_low_ones_and_reweights_the_rest(scores, twentieths, seed):
    m, keep = len(scores), twentieths / 20
    seen = [Fraction(s) for s in scores if not math.isnan(s)]
    mean = float(sum(seen) / len(seen)) if seen else nan
    low = {i for i, s in enumerate(scores) if s < mean}
    picked = pickers.BelowMean(keep).pick(pool(torch.tensor(scores, dtype=torch.float64), seed))
    chosen = rows(picked, m)
    # The mean of the reference is exact, the library's a float64 sum: they may part on a tie at the mean.
    if any(abs(s - mean) < 1e-9 for s in scores):
        return
    assert set(range(m)) - low <= set(chosen)
    kept = len(low)
    if low and keep < 1:
        kept = max(1, math.floor(Fraction(twentieths, 20) * len(low)))
    assert len(low & set(chosen)) == kept
    weights = [1.0] * len(chosen) if picked.weights is None else picked.weights.tolist()
    expected = [len(low) / kept if i in low else 1.0 for i in chosen]
    assert weights == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.1, 0.7, 2.3025851, 1e-3, 1e7])
@pytest.mark.parametrize("m", [3, 10, 1000, 99_991])
def test_equal_losses_drop_nobody(value, m):
    scores = torch.full((m,), value)
    assert pickers.BelowMean(0.5).pick(pool(scores)).rows is None


def test_below_mean_independently_keeps_about_its_share_and_the_total_weight():
    scores = torch.arange(1000).float()
    picker, totals = pickers.BelowMean(0.4, exact=False), []
    for seed in range(100):
        picked = picker.pick(pool(scores, seed))
        totals.append(picked.weights.sum().item())
    # 500 low ones, each with variance keep (1 - keep) / keep^2 in the total weight.
    spread = math.sqrt(500 * 0.6 / 0.4)
    assert abs(sum(totals) / 100 - 1000) < 5 * spread / 10
    assert len(set(totals)) > 10


@fast
@given(
    st.lists(
        st.tuples(st.floats(0, 9, width=32), st.booleans(), st.floats(0, 1, width=32)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 20),
)
def test_hide_easy_hides_the_low_that_are_right_and_confident(samples, twentieths):
    m, keep, tau = len(samples), twentieths / 20, 0.7
    columns = {
        "loss": torch.tensor([loss for loss, _, _ in samples]),
        "correct": torch.tensor([correct for _, correct, _ in samples]),
        "confidence": torch.tensor([sure for _, _, sure in samples], dtype=torch.float64),
    }
    picked = pickers.HideEasy(keep, tau=tau).pick(Pool(m, generator(0), columns, "loss"))
    most = math.floor((1 - Fraction(twentieths, 20)) * m)
    lowest = sorted(range(m), key=lambda i: (samples[i][0], i))[:most]
    hidden = {i for i in lowest if samples[i][1] and samples[i][2] >= tau}
    assert set(range(m)) - set(rows(picked, m)) == hidden


def test_hide_easy_never_hides_the_unseen():
    columns = {
        "loss": torch.tensor([nan, 0.1, nan, 0.2]),
        "correct": torch.tensor([True, True, False, True]),
        "confidence": torch.tensor([nan, 0.9, nan, 0.9]),
    }
    picked = pickers.HideEasy(0.25).pick(Pool(4, generator(0), columns, "loss"))
    assert rows(picked, 4) == [0, 2]


def test_adaptive_top_k_follows_the_published_steps():
    picker = pickers.AdaptiveTopK()
    shares = [(0.0, 1), (0.79, 1), (0.8, 1 / 2), (0.9, 1 / 4), (0.95, 1 / 8), (0.995, 1 / 16), (1.0, 1 / 16)]
    for accuracy, keep in shares:
        best = {"best_accuracy": torch.tensor(accuracy, dtype=torch.float64)}
        assert picker.settle(best) == pickers.TopK(keep), accuracy
    assert picker.settle({}) == pickers.TopK(1.0)
    with pytest.raises(TypeError, match="must be settled"):
        picker.pick(pool([1.0]))


def test_everything_is_certain_only_where_keep_is_one():
    assert pickers.TopK(1.0).everything
    assert pickers.PerClass(pickers.Uniform(1)).everything
    assert pickers.BelowMean(1.0).everything
    assert pickers.HideEasy(1.0).everything
    assert not pickers.TopK(0.9999999).everything
    assert not pickers.BelowMean(0.99).everything
    assert not pickers.AdaptiveTopK().everything


def test_before_any_observation_a_ranking_picker_takes_the_first():
    empty = Pool(4, generator(0), {}, "loss")
    assert rows(pickers.TopK(0.5).pick(empty), 4) == [0, 1]
    assert rows(pickers.BelowMean(0.5).pick(empty), 4) == [0, 1, 2, 3]
    assert rows(pickers.HideEasy(0.5).pick(empty), 4) == [0, 1, 2, 3]


def test_pickers_leave_the_scores_as_they_are():
    scores = torch.tensor([3.0, 1.0, nan, 2.0])
    columns = {"loss": scores, "correct": torch.ones(4).bool(), "confidence": torch.ones(4)}
    before = {name: column.clone() for name, column in columns.items()}
    for picker in (*(kind(0.5) for kind in BUDGETED), pickers.BelowMean(0.5), pickers.HideEasy(0.5)):
        picker.pick(Pool(4, generator(0), columns, "loss"))
        assert all(torch.equal(columns[n].nan_to_num(-1), before[n].nan_to_num(-1)) for n in columns)
