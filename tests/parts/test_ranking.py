"""Budgets, the top k, the race and the largest remainder against slow references."""

import itertools
import math
import struct
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samplewise.pickers import ranking
from samplewise.rng import generator

fast = settings(max_examples=80, deadline=None, derandomize=True)
SPECIAL = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1.0, 1.0, -1.0, 1e-45, 3e38]


def scores_of(dtype, width):
    values = st.one_of(st.sampled_from(SPECIAL), st.floats(width=width))
    return arrays(dtype, st.integers(1, 40), elements=values.map(dtype))


def slow_top(scores, k, ids=None):
    """A stable sort in plain Python: never observed first, then high to low, equal ones by id."""
    ids = range(len(scores)) if ids is None else ids
    keys = [
        (not math.isnan(s), -s if not math.isnan(s) else 0.0, i) for s, i in zip(scores, ids, strict=True)
    ]
    return sorted(sorted(range(len(scores)), key=lambda row: keys[row])[:k])


@pytest.mark.parametrize("keep", [0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_the_budget_is_m_minus_the_floor_of_what_is_dropped(keep):
    exact = Fraction(str(keep))
    for m in [*range(1, 130), 200, 256, 1000, 50_000, 1_281_167]:
        assert ranking.budget(m, keep) == m - math.floor((1 - exact) * m), m
        assert ranking.budget(m, keep, least=2) == min(m, max(2, m - math.floor((1 - exact) * m))), m


def test_two_hundred_of_a_thousand_are_two_hundred():
    assert ranking.budget(1000, 0.2) == 200
    assert ranking.budget(1000, 1 - 0.8) == 200


@fast
@given(scores_of(np.float32, 32), st.integers(0, 45))
def test_top_is_a_stable_sort(scores, k):
    assert ranking.top(torch.from_numpy(scores), k).tolist() == slow_top(scores.tolist(), k)


@fast
@given(scores_of(np.float64, 64), st.integers(0, 45), st.randoms(use_true_random=False))
def test_equal_scores_are_ordered_by_the_ids_given(scores, k, shuffler):
    ids = [3 * i + 1 for i in range(len(scores))]
    shuffler.shuffle(ids)
    chosen = ranking.top(torch.from_numpy(scores), k, torch.tensor(ids))
    assert chosen.tolist() == slow_top(scores.tolist(), k, ids)


@fast
@given(scores_of(np.float32, 32), st.integers(1, 45), st.randoms(use_true_random=False))
def test_the_way_for_an_accelerator_chooses_the_same(scores, k, shuffler):
    ids = list(range(len(scores)))
    shuffler.shuffle(ids)
    tensor, k = torch.from_numpy(scores), min(k, len(scores))
    for given_ids in (None, torch.tensor(ids)):
        assert torch.equal(ranking._top_without_sync(tensor, k, given_ids), ranking.top(tensor, k, given_ids))


def test_never_observed_comes_before_infinity_and_minus_zero_equals_zero():
    nan, inf = float("nan"), float("inf")
    assert ranking.top(torch.tensor([inf, 5.0, nan, inf]), 1).tolist() == [2]
    assert ranking.top(torch.tensor([inf, 5.0, nan, inf]), 2).tolist() == [0, 2]
    negative_nan = struct.unpack("f", struct.pack("I", 0xFFC00000))[0]
    assert ranking.top(torch.tensor([inf, negative_nan]), 1).tolist() == [1]
    assert ranking.top(torch.tensor([-0.0, 0.0, -1.0]), 1).tolist() == [0]
    assert ranking.top(torch.tensor([0.0, -0.0, -1.0]), 1).tolist() == [0]
    assert ranking.top(torch.tensor([-0.0, nan, 0.0, -1.0]), 2).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int32, torch.int64, torch.bool])
def test_any_number_type_can_be_ranked(dtype):
    scores = torch.tensor([0, 1, 0, 1, 1]).to(dtype)
    assert ranking.top(scores, 2).tolist() == [1, 3]


def test_top_leaves_the_scores_as_they_are():
    scores = torch.tensor([1.0, float("nan"), -0.0, -2.0])
    before = scores.clone().view(torch.int32)
    ranking.top(scores, 2)
    assert torch.equal(scores.view(torch.int32), before)


@fast
@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 5))
def test_a_uniform_draw_has_k_rows_in_order(m, k, seed):
    rows = ranking.uniform(m, k, generator(seed)).tolist()
    assert len(rows) == min(k, m)
    assert rows == sorted(set(rows))
    assert all(0 <= row < m for row in rows)


@pytest.mark.parametrize("k", [2, 3])
def test_every_set_is_equally_likely_in_a_uniform_draw(k):
    draws, rng = 6000, generator(1)
    counts = Counter(tuple(ranking.uniform(5, k, rng).tolist()) for _ in range(draws))
    assert len(counts) == 10
    # 5 standard deviations of a binomial(6000, 1/10)
    assert all(abs(count - draws / 10) < 5 * math.sqrt(draws * 0.09) for count in counts.values())


def law_without_replacement(weights, k):
    """P of every set, by going through every order of drawing; zeros come last, uniformly."""
    law = Counter()
    for order in itertools.permutations(range(len(weights)), k):
        p, left = 1.0, list(range(len(weights)))
        for row in order:
            total = sum(weights[i] for i in left)
            p *= weights[row] / total if total else 1 / len(left)
            left.remove(row)
        law[tuple(sorted(order))] += p
    return law


@pytest.mark.parametrize(
    ("weights", "k"),
    [
        ((1.0, 1.0, 2.0), 2),
        ((1.0, 2.0, 3.0, 4.0), 2),
        ((5.0, 1.0, 0.0, 0.0, 0.0), 3),
        ((0.0, 0.0, 0.0), 1),
        ((1e-30, 2e-30, 1e-30), 1),
    ],
)
def test_the_race_is_drawing_without_replacement_in_law(weights, k):
    draws, rng, tensor = 6000, generator(2), torch.tensor(weights)
    counts = Counter(tuple(ranking.race(tensor, k, rng).tolist()) for _ in range(draws))
    law = law_without_replacement(weights, k)
    assert sum(law.values()) == pytest.approx(1)
    for chosen, p in law.items():
        assert abs(counts[chosen] - draws * p) <= 5 * math.sqrt(draws * p * (1 - p)) + 1e-9, (chosen, p)
    assert set(counts) <= {chosen for chosen, p in law.items() if p}


def test_the_published_example_of_inclusion_probabilities():
    law = law_without_replacement((1.0, 1.0, 2.0), 2)
    inclusion = [sum(p for chosen, p in law.items() if row in chosen) for row in range(3)]
    assert inclusion == pytest.approx([7 / 12, 7 / 12, 5 / 6])


def test_a_zero_weight_never_beats_a_positive_one_and_the_unseen_win():
    tiny, nan = 1e-45, float("nan")
    weights = torch.tensor([0.0, tiny, 0.0, nan, 3e38, float("inf"), 0.0])
    for seed in range(200):
        rng = generator(seed)
        assert ranking.race(weights, 4, rng).tolist() == [1, 3, 4, 5]
        assert ranking.race(weights, 2, rng).tolist() == [3, 5]
        assert set(ranking.race(weights, 5, rng).tolist()) > {1, 3, 4, 5}


def test_a_race_of_more_rows_than_multinomial_can_hold():
    m = 2**24 + 100
    weights = torch.zeros(m)
    last = torch.tensor([m - 7, m - 5, m - 1])
    weights[last] = 1.0
    assert torch.equal(ranking.race(weights, 3, generator(0)), last)


def test_a_race_does_not_depend_on_the_chunks(monkeypatch):
    weights = torch.rand(1000, generator=generator("weights"))
    whole = ranking.race(weights, 300, generator(3))
    monkeypatch.setattr(ranking, "_CHUNK", 64)
    rows = ranking.race(weights, 300, generator(3))
    assert len(rows) == len(set(rows.tolist())) == len(whole) == 300


@fast
@given(st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any), st.data())
def test_the_largest_remainder_divides_exactly(sizes, data):
    n = sum(sizes)
    total = data.draw(st.integers(0, n))
    exact = [Fraction(total * size, n) for size in sizes]
    quotas = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda c: (quotas[c] - exact[c], c))
    for c in by_remainder[: total - sum(quotas)]:
        quotas[c] += 1
    found = ranking.largest_remainder(total, torch.tensor(sizes)).tolist()
    assert found == quotas
    assert sum(found) == total
    assert all(quota <= size for quota, size in zip(found, sizes, strict=True))
