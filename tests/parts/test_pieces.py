"""Choices from very many rows, piece by piece, against the choices from whole columns."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise import pickers
from samplewise.data import bits
from samplewise.data.bits import Bits
from samplewise.pickers import Pool, pieces, ranking
from samplewise.pickers.base import Budgeted
from samplewise.rng import generator
from tests.parts.test_ranking import slow_top

few = settings(max_examples=25)
KINDS = [torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.int64, torch.uint8, torch.bool]
SPECIAL = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 1e-45, -3e38])


@pytest.fixture(autouse=True, params=[0, 1 << 20], ids=["counted", "partitioned"])
def small_pieces(request, monkeypatch):
    monkeypatch.setattr(bits, "PIECE", 64)
    monkeypatch.setattr(pieces, "_DIGIT", 8)
    monkeypatch.setattr(pieces, "_FEW", request.param)  # numbers that are partitioned, not counted again


def drawn(n, seed, kind=torch.float32, special=0.3):
    rng = generator("scores", n, seed)
    scores = torch.randn(n, generator=rng) * 3
    if seed % 2:
        scores = scores.round()
    if kind.is_floating_point:
        odd = torch.rand(n, generator=rng) < special
        return torch.where(odd, SPECIAL[torch.randint(len(SPECIAL), (n,), generator=rng)], scores).to(kind)
    return scores.abs().to(kind)


def in_pieces(scores):
    return lambda: iter(scores.split(64))


@few
@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 99), st.sampled_from(KINDS))
def test_a_threshold_finds_what_a_sort_finds(n, k, seed, kind):
    scores, k = drawn(n, seed, kind), min(k, n)
    found = pieces.top(n, in_pieces(scores), k).ids()
    assert found.tolist() == slow_top(scores.tolist(), k) == ranking.top(scores, k).tolist()


def test_equal_scores_are_taken_from_the_front():
    assert pieces.top(200, in_pieces(torch.ones(200)), 130).ids().tolist() == [*range(130)]


@few
@given(st.integers(2, 300), st.integers(1, 299), st.integers(0, 99), st.booleans())
def test_a_race_in_pieces_draws_the_same_rows(n, k, seed, plain):
    weights = drawn(n, seed, special=0.0 if plain else 0.3).abs()
    k = min(k, n - 1)
    found = pieces.race(n, in_pieces(weights), k, generator(seed)).ids()
    assert torch.equal(found, ranking.race(weights, k, generator(seed)))


@few
@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 99))
def test_a_uniform_draw_has_k_samples_of_the_set(n, share, seed):
    among = Bits.where(drawn(n, seed).numpy() > 0)
    k = int(share * len(among))
    found = pieces.uniform(among, k, generator(seed))
    assert len(found) == k
    assert len(found.without(among)) == 0
    assert found.ids().tolist() == pieces.uniform(among, k, generator(seed)).ids().tolist()


def test_every_set_is_equally_likely_in_a_uniform_draw():
    draws, rng = 600, generator(1)
    among = Bits.of(200, torch.tensor([0, 63, 64, 130, 199]))
    counts = Counter(tuple(pieces.uniform(among, 2, rng).ids().tolist()) for _ in range(draws))
    assert len(counts) == 10
    # 5 standard deviations of a binomial(600, 1/10)
    assert all(abs(count - draws / 10) < 5 * math.sqrt(draws * 0.09) for count in counts.values())


def test_independent_draws_keep_their_share_and_follow_one_another():
    among, rng = Bits.where(np.arange(40_000) % 2 == 0), generator(2)
    one, two = (pieces.independent(among, 0.3, rng) for _ in range(2))
    assert len(one.without(among)) == 0
    for found in (one, two):
        assert abs(len(found) - 6000) < 5 * math.sqrt(20_000 * 0.21)
    assert abs(len(one.without(two)) - 4200) < 5 * math.sqrt(20_000 * 0.21 * 0.79)


def test_ties_are_drawn_and_the_higher_ones_are_sure():
    scores, draws = torch.tensor([2, 1, 1, 0, 1]), 450
    rng = generator(3)
    counts = Counter()
    for _ in range(draws):
        found = pieces.top_drawn(5, in_pieces(scores), 2, rng).ids().tolist()
        assert found[0] == 0
        counts[found[1]] += 1
    assert set(counts) == {1, 2, 4}
    assert all(abs(count - draws / 3) < 5 * math.sqrt(draws * 2 / 9) for count in counts.values())


# --------------------------------------------------------------------------------------- pickers


def pool_of(n, seed, special=0.1, **more):
    rng = generator("pool", seed)
    values = {
        "loss": drawn(n, seed, special=special).abs(),
        "correct": torch.rand(n, generator=rng) < 0.7,
        "confidence": torch.rand(n, generator=rng),
    }
    return Pool(n, generator(seed), values, "loss", times=torch.randint(3, (n,), generator=rng), **more)


SAME = [
    pickers.TopK(0.3),
    pickers.Weighted(0.4),
    pickers.HideEasy(0.6, tau=0.4),
    pickers.AtLeast(2.0),
    pickers.AtLeast(1e30),
    pickers.TopK(1),
    pickers.RankDrawn(0.5),
    pickers.NoiseBudget(0.5),
]


@pytest.mark.parametrize("picker", SAME, ids=repr)
@few
@given(n=st.integers(10, 400), seed=st.integers(0, 99))
def test_a_picker_marks_the_rows_that_it_picks(picker, n, seed):
    special = 0.0 if isinstance(picker, pickers.NoiseBudget) else 0.1
    picked, marked = picker.pick(pool_of(n, seed, special)), picker.marked(pool_of(n, seed, special))
    rows = torch.arange(n) if picked.rows is None else picked.rows
    assert torch.equal(marked.rows.ids(), rows)
    assert (picked.weights is None) == (marked.weights is None)
    assert picked.weights is None or torch.equal(picked.weights, marked.weights)
    assert marked.notes == picked.notes


@pytest.mark.parametrize("picker", SAME, ids=repr)
def test_a_picker_marks_everything_or_the_first_before_any_score(picker):
    n = 200
    empty = [Pool(n, generator(0), ranks="loss") for _ in range(2)]
    picked, marked = picker.pick(empty[0]), picker.marked(empty[1])
    assert marked.rows.ids().tolist() == ([*range(n)] if picked.rows is None else picked.rows.tolist())


@few
@given(st.integers(10, 400), st.integers(0, 99), st.floats(0.1, 1))
def test_below_the_mean_an_exact_share_is_marked_with_its_weight(n, seed, keep):
    pool = pool_of(n, seed, special=0.0)
    pool.values["loss"][::7] = math.nan
    picker = pickers.BelowMean(keep)
    picked, marked = picker.pick(pool), picker.marked(pool)
    losses = pool.values["loss"].double()
    low = losses < losses[~losses.isnan()].mean()
    if picked.rows is None:
        assert len(marked.rows) == n
        assert marked.heavy is None
        return
    kept = marked.heavy.ids()
    assert low[kept].all()
    assert torch.equal(marked.rows.ids(), torch.cat([(~low).nonzero().squeeze(1), kept]).sort().values)
    assert len(marked.rows) == len(picked.rows)
    assert np.float32(marked.weight) == picked.weights.max() or len(kept) == low.sum()
    assert len(kept) * marked.weight == pytest.approx(int(low.sum()))


def test_below_the_mean_samples_are_kept_one_by_one_if_the_share_is_not_exact():
    pool = Pool(20_000, generator(1), {"loss": torch.arange(20_000.0)}, "loss")
    marked = pickers.BelowMean(0.3, exact=False).marked(pool)
    assert marked.weight == 1 / 0.3
    assert abs(len(marked.heavy) - 3000) < 5 * math.sqrt(10_000 * 0.21)
    assert len(marked.rows) == 10_000 + len(marked.heavy)
    assert marked.heavy.ids().max() < 10_000


@few
@given(st.integers(10, 300), st.integers(0, 99))
def test_exploring_marks_the_highest_and_draws_the_rest(n, seed):
    pool = pool_of(n, seed)
    k = ranking.budget(n, 0.4)
    marked = pickers.EpsilonGreedy(0.4, eps=0.5).marked(pool).rows
    sure = ranking.top(pool.values["loss"], k - k // 2)
    assert len(marked) == k
    assert marked.has(sure).all()


@few
@given(st.integers(10, 300), st.integers(0, 99), st.floats(0.05, 0.95))
def test_the_least_used_come_first_when_marked(n, seed, keep):
    pool = pool_of(n, seed)
    found = pickers.LeastUsed(keep).marked(pool).rows
    assert len(found) == ranking.budget(n, keep)
    taken = found.has(torch.arange(n))
    assert pool.times[taken].max() <= pool.times[~taken].min()
    fresh = pickers.LeastUsed(keep).marked(pool._replace(times=None)).rows
    assert len(fresh) == len(found)


@dataclass(frozen=True)
class Lowest(pickers.TopK):
    """A subclass that changes the choice from whole columns only."""

    def take(self, pool, k):
        return ranking.top(-pool.scores(self.by), k)


@dataclass(frozen=True)
class All(pickers.BelowMean):
    """The same of a picker that is no share."""

    def pick(self, pool):
        return pickers.Picked()


def test_a_subclass_that_changes_the_choice_is_asked_for_it():
    pool = Pool(200, generator(0), {"loss": torch.arange(200.0)}, "loss")
    assert Lowest(0.1).marked(pool).rows.ids().tolist() == [*range(20)]
    assert len(All(0.5).marked(pool).rows) == 200
    reading = Pool(200, generator(0), {}, "loss", read=lambda rows: {"loss": rows.float()})
    assert Lowest(0.1).marked(reading).rows.ids().tolist() == [*range(20)]
    assert pickers.TopK(0.1).marked(reading).rows.ids().tolist() == [*range(180, 200)]
    assert issubclass(Lowest, Budgeted)
