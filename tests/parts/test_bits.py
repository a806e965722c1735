"""Sets of samples as bits, permutations without a list, and orders, against plain arrays."""

import itertools
import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.data import bits
from samplewise.data.bits import Bits
from samplewise.data.order import Order, Permutation
from samplewise.distributed.shares import deal, positions
from samplewise.rng import generator

few = settings(max_examples=30)
MASKS = st.tuples(st.integers(1, 700), st.sampled_from([0.0, 0.01, 0.3, 0.9, 1.0]), st.integers(0, 99)).map(
    lambda drawn: np.random.default_rng(drawn[2]).random(drawn[0]) < drawn[1]
)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(bits, "PIECE", 128)


@few
@given(MASKS)
def test_bits_are_the_truth_values_that_they_were_made_of(mask):
    ids = torch.from_numpy(np.flatnonzero(mask))
    for made in (Bits.where(mask), Bits.of(len(mask), ids)):
        assert len(made) == mask.sum()
        assert torch.equal(made.ids(), ids)
        assert np.array_equal(np.concatenate([part for _, part in made.parts()]), mask)
        assert np.array_equal(made.packed().numpy(), np.packbits(mask, bitorder="little"))
        assert made.has(torch.arange(len(mask))).tolist() == mask.tolist()
        assert torch.equal(Bits(len(mask), made.packed()).ids(), ids)


@few
@given(MASKS, st.randoms(use_true_random=False))
def test_the_id_of_a_rank_is_that_of_flatnonzero_and_back(mask, shuffler):
    ids, made = np.flatnonzero(mask), pickle.loads(pickle.dumps(Bits.where(mask)))
    ranks = [*range(len(ids)), *range(len(ids))]
    shuffler.shuffle(ranks)
    ranks = np.array(ranks, dtype=np.int64)
    assert made.at(ranks).tolist() == ids[ranks].tolist()
    assert made.rank(ids[ranks]).tolist() == ranks.tolist()
    below = [int(mask[:id].sum()) for id in range(len(mask))]
    assert made.rank(np.arange(len(mask))).tolist() == below


def test_a_few_samples_at_both_ends_of_many_are_found():
    mask = np.zeros(100_000, dtype=bool)
    mask[[0, 1, 63, 64, 99_999]] = True
    assert Bits.where(mask).at(np.arange(5)).tolist() == [0, 1, 63, 64, 99_999]


@few
@given(MASKS, st.integers(0, 99))
def test_sets_are_joined_and_subtracted(mask, seed):
    other = np.random.default_rng(seed).random(len(mask)) < 0.5
    one, two, everything = Bits.where(mask), Bits.where(other), Bits(len(mask))
    assert (one | two).ids().tolist() == np.flatnonzero(mask | other).tolist()
    assert one.without(two).ids().tolist() == np.flatnonzero(mask & ~other).tolist()
    assert everything.without(one).ids().tolist() == np.flatnonzero(~mask).tolist()
    assert len(everything.without(one)) == (~mask).sum()
    assert len(one.without(everything)) == 0
    assert len(one | everything) == len(mask)


@few
@given(st.integers(1, 300))
def test_everything_is_a_set_without_memory(n):
    everything, written = Bits(n), Bits.where(np.ones(n, dtype=bool))
    assert everything.words is None
    assert len(everything) == n
    assert torch.equal(everything.packed(), written.packed())
    assert torch.equal(everything.ids(), written.ids())
    assert everything.at(np.arange(n)).tolist() == everything.rank(np.arange(n)).tolist() == [*range(n)]
    assert everything.has(torch.arange(n)).all()


def test_a_set_that_is_changed_forgets_what_was_computed():
    made = Bits.where(np.array([True, False, True]))
    assert (len(made), made.at(np.array([1])).tolist(), made.has(torch.tensor([1])).tolist()) == (
        2,
        [2],
        [False],
    )
    made.put(0, np.array([True, True, True]))
    assert (len(made), made.at(np.array([1])).tolist(), made.has(torch.tensor([1])).tolist()) == (
        3,
        [1],
        [True],
    )


# ---------------------------------------------------------------------------------- permutations


@few
@given(st.integers(1, 3000), st.integers(0, 10**6))
def test_a_permutation_is_one_to_one_for_any_size_and_key(n, key):
    found = Permutation(n, generator(key))(np.arange(n))
    assert sorted(found.tolist()) == [*range(n)]


@pytest.mark.parametrize("n", [(1 << 16) - 1, 300_007])
def test_a_large_permutation_is_one_to_one_and_its_parts_fit(n):
    permutation = Permutation(n, generator(1))
    whole = permutation(np.arange(n))
    assert np.array_equal(np.sort(whole), np.arange(n))
    assert np.array_equal(permutation(np.arange(n // 2, n)), whole[n // 2 :])
    assert np.array_equal(Permutation(n, generator(1))(np.arange(n)), whole)
    assert not np.array_equal(Permutation(n, generator(2))(np.arange(n)), whole)


def test_numbers_near_the_end_of_a_huge_range_are_mapped_into_it():
    n = 10**12 + 39
    found = Permutation(n, generator(0))(np.arange(n - 1000, n))
    assert len(set(found.tolist())) == 1000
    assert found.min() >= 0
    assert found.max() < n
    assert found.max() > n // 2


def spread(counts, expected):
    """How far counts are from being equal: chi-square, in its standard deviations."""
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_every_order_of_few_samples_is_equally_likely(n):
    keys = 2400
    found = Counter(
        tuple(Permutation(n, torch.Generator().manual_seed(key))(np.arange(n)).tolist())
        for key in range(keys)
    )
    counts = np.array([found[order] for order in itertools.permutations(range(n))])
    assert abs(spread(counts, keys / len(counts))) < 5


@pytest.mark.parametrize("n", [100, 70_000])
def test_first_samples_neighbours_and_distances_are_spread_evenly(n):
    keys, bins = 1000, 20
    firsts, distances = np.zeros(bins), np.zeros(bins)
    for key in range(keys):
        one, two = Permutation(n, torch.Generator().manual_seed(key))(np.array([0, 1]))
        firsts[one * bins // n] += 1
        distances[(two - one) % n * bins // n] += 1
    assert abs(spread(firsts, keys / bins)) < 5
    assert abs(spread(distances, keys / bins)) < 5


def test_position_and_id_do_not_depend_on_each_other():
    n, cells = 1_000_000, 40
    where = Permutation(n, generator(3))(np.arange(n))
    table, _, _ = np.histogram2d(np.arange(n), where, bins=cells)
    # The margins are fixed: (cells - 1)^2 degrees of freedom.
    freedom, expected = (cells - 1) ** 2, n / cells**2
    assert abs((((table - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)) < 5
    steps = np.diff(where)
    assert abs(np.mean(steps > 0) - 0.5) < 0.003
    assert np.corrcoef(where[:-1], where[1:])[0, 1] == pytest.approx(0, abs=0.005)


# ---------------------------------------------------------------------------------------- orders


@few
@given(MASKS, st.integers(0, 50), st.integers(1, 4), st.booleans(), st.integers(1, 40))
def test_an_order_is_dealt_like_a_tensor(mask, done, world, covers, size):
    chosen = Bits.where(mask)
    order = Order(chosen, Permutation(len(chosen), generator(5)) if len(chosen) else None)
    listed = torch.tensor(order.tolist(), dtype=torch.int64)
    assert sorted(listed.tolist()) == np.flatnonzero(mask).tolist()
    done = min(done, len(chosen))
    shards = []
    for rank in range(world):
        dealt = order.over(positions(len(order), done, rank, world, covers))
        assert dealt.tolist() == deal(listed, done, rank, world, covers).tolist()
        assert [number for piece in dealt.split(size) for number in piece.tolist()] == dealt.tolist()
        shards += dealt.tolist()
    rest = listed[done:].tolist()
    if covers:
        assert set(rest) <= set(shards)
    else:
        assert sorted(shards) == sorted(rest[: len(rest) // world * world])


def test_an_order_is_sliced_like_a_list():
    order = Order(Bits(10), Permutation(10, generator(0)))
    assert order[3:8][::2].tolist() == order.tolist()[3:8:2]
    assert len(order[3:8]) == 5


def test_bits_beyond_the_last_sample_are_no_samples():
    some = Bits(70, torch.full((9,), 255, dtype=torch.uint8))
    assert (len(some), some.ids().tolist()) == (70, list(range(70)))
    assert some.at(np.array([69])).tolist() == [69]


def test_what_was_asked_before_a_set_changed_is_forgotten():
    some = Bits.of(100, torch.tensor([3, 64]))
    asked = torch.tensor([3, 5, 64])
    assert some.has(asked).tolist() == [True, False, True]
    assert (len(some), some.at(np.array([1])).tolist()) == (2, [64])
    some.put(0, np.arange(64) == 5)
    assert some.has(asked).tolist() == [False, True, True]
    assert (len(some), some.at(np.array([0, 1])).tolist()) == (2, [5, 64])
