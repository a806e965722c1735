"""What greedy choices over vectors have in common: products, classes, blocks, orders, weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.pickers import FacilityLocation, Herding, MatchingPursuit, Pool, greedy, ranking
from samplewise.pickers.base import Picked
from samplewise.rng import generator

fast = settings(max_examples=60, deadline=None, derandomize=True)
PICKERS = [Herding(0.5), FacilityLocation(0.5), MatchingPursuit(0.5)]
by_kind = pytest.mark.parametrize("picker", PICKERS, ids=lambda p: type(p).__name__)


def vectors(m, seed=0, c=3, d=16):
    """Residuals p - e_y, features and classes of unequal size."""
    rng = generator(seed, "vectors")
    targets = torch.randint(0, c + 2, (m,), generator=rng).clamp(max=c - 1)
    residual = torch.randn(m, c, generator=rng).softmax(1)
    residual[torch.arange(m), targets] -= 1
    return {
        "residual": residual,
        "features": torch.randn(m, d, generator=rng).relu(),
        "target": targets.int(),
    }


def pool(values, seed=0, **more):
    return Pool(len(values["features"]), generator(seed), values, "order", **more)


def again(picker, keep, **more):
    return type(picker)(**{**vars(picker), "keep": keep, **more})


def explicit(values):
    """Gradients of weight and bias, flat, in float64."""
    r, h = values["residual"].double(), values["features"].double()
    return torch.einsum("ic,id->icd", r, torch.cat([torch.ones(len(h), 1), h], 1)).flatten(1).numpy()


# ---------------------------------------------------------------------------------------- products


@pytest.mark.parametrize("m", [1, 7, 1100])
def test_factorised_products_are_those_of_explicit_gradients(m):
    values = vectors(m, seed=m)
    r, h, g = values["residual"], values["features"], explicit(values)
    gram = greedy.gram(r, h)
    np.testing.assert_allclose(gram.numpy(), g @ g.T, rtol=1e-5, atol=1e-6)
    goal, square = greedy.toward_sum(r, h)
    np.testing.assert_allclose(goal.numpy(), g @ g.sum(0), rtol=1e-6, atol=1e-6)
    assert square == pytest.approx(np.square(g.sum(0)).sum(), rel=1e-6)
    squares = np.square(g).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * g @ g.T, 0))
    similarity = greedy.similarity(r, h)
    np.testing.assert_allclose(similarity.numpy(), distances.max() - distances, atol=1e-5)
    assert torch.equal(similarity, similarity.T)
    assert similarity.min() == 0


def test_equal_gradients_are_at_distance_none_however_large():
    r, h = torch.randn(3, 4, generator=generator(0)), 1e3 * torch.randn(3, 50, generator=generator(1))
    similarity = greedy.similarity(r[[0, 0, 1, 2]], h[[0, 0, 1, 2]])
    assert similarity[0, 1] == similarity[0, 0] == similarity.max()


# ----------------------------------------------------------------------------------------- classes


@fast
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(2, 20), st.data())
def test_blocks_are_small_and_even_and_budgets_are_exact_at_both_levels(labels, block, data):
    k = data.draw(st.integers(0, len(labels)))
    made = greedy.groups(torch.tensor(labels), block, generator(0))
    sizes = made.group.bincount()
    assert sizes.max() <= block
    assert sorted(torch.cat(made.members).tolist()) == list(range(len(labels)))
    quotas = greedy.quotas(k, made)
    assert int(quotas.sum()) == k
    shares = dict(
        zip(sorted(set(labels)), ranking.largest_remainder(k, made.of.bincount()).tolist(), strict=True)
    )
    for c, total in shares.items():
        blocks = [g for g, members in enumerate(made.members) if labels[members[0]] == c]
        assert {labels[i] for g in blocks for i in made.members[g].tolist()} == {c}
        assert sum(int(quotas[g]) for g in blocks) == total
        assert max(int(sizes[g]) for g in blocks) - min(int(sizes[g]) for g in blocks) <= 1
        assert max(int(quotas[g]) for g in blocks) - min(int(quotas[g]) for g in blocks) <= 1
        assert all(int(quotas[g]) <= int(sizes[g]) for g in blocks)


@fast
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_an_order_made_for_a_larger_share_is_enough_for_every_smaller_one(sizes, data):
    sizes = torch.tensor(sizes)
    larger = data.draw(st.integers(1, int(sizes.sum())))
    smaller = data.draw(st.integers(0, larger))
    made = ranking.largest_remainder(larger, sizes)
    got, fair = greedy.capped(smaller, sizes, made), ranking.largest_remainder(smaller, sizes)
    assert int(got.sum()) == smaller
    assert (got <= made).all()
    if (fair <= made).all():
        assert torch.equal(got, fair)
    assert (got - smaller * sizes / sizes.sum()).abs().max() < 1


def test_where_a_larger_total_gives_a_class_less_the_next_remainder_steps_in():
    # The Alabama paradox: of 10 places the class of 2 gets 2 (1.43), of 11 only 1 (1.57).
    sizes = torch.tensor([6, 6, 2])
    assert ranking.largest_remainder(10, sizes).tolist() == [4, 4, 2]
    assert ranking.largest_remainder(11, sizes).tolist() == [5, 5, 1]
    assert greedy.capped(10, sizes, torch.tensor([5, 5, 1])).tolist() == [5, 4, 1]


def test_every_beginning_of_the_order_is_balanced():
    values = vectors(90, seed=3)
    order = Herding(1.0).columns(pool(values))["order"].argsort(descending=True)
    targets = values["target"][order].long()
    sizes = targets.bincount(minlength=3)
    for k in range(1, 91):
        got = targets[:k].bincount(minlength=3)
        assert (got - k * sizes / 90).abs().max() <= 1.5


# ----------------------------------------------------------------------------------------- pickers


@by_kind
@pytest.mark.parametrize("keep", [0.05, 0.3, 0.5, 0.95])
def test_the_budget_is_exact_in_total_and_by_largest_remainder_in_each_class(picker, keep):
    values = vectors(61, seed=1)
    picked = again(picker, keep).pick(pool(values))
    k = ranking.budget(61, keep)
    sizes = values["target"].bincount()
    assert picked.rows.tolist() == sorted(set(picked.rows.tolist()))
    assert values["target"][picked.rows].bincount(minlength=3).tolist() == (
        ranking.largest_remainder(k, sizes).tolist()
    )
    if picker.own_weights:
        assert (picked.weights > 0).all()
        assert picked.weights.mean() == pytest.approx(1, abs=1e-5)
    else:
        assert picked.weights is None


@by_kind
def test_labels_come_before_targets_and_without_either_there_is_one_class(picker):
    values = vectors(40, seed=2)
    labels = (torch.arange(40) < 10).long() + 5
    assert int((again(picker, 0.4).pick(pool(values, labels=labels)).rows < 10).sum()) == 4
    del values["target"]
    one = again(picker, 0.4).pick(pool(values))
    zeros = again(picker, 0.4).pick(pool(values, labels=torch.zeros(40, dtype=torch.int64)))
    assert torch.equal(one.rows, zeros.rows)


@by_kind
def test_smaller_shares_from_an_order_are_what_picking_anew_gives(picker):
    values = vectors(61, seed=4)
    columns = again(picker, 0.8).columns(pool(values))
    before: set[int] = set()
    for keep in (0.1, 0.25, 0.5, 0.7, 0.8):
        anew = again(picker, keep).pick(pool(values))
        nested = again(picker, keep).pick(pool(values | columns))
        assert torch.equal(anew.rows, nested.rows)
        assert before <= set(nested.rows.tolist())
        before = set(nested.rows.tolist())
        assert torch.equal(again(picker, keep).rows(pool(values | columns)), nested.rows)
        if picker.own_weights:
            torch.testing.assert_close(anew.weights, nested.weights, rtol=1e-4, atol=1e-5)


@by_kind
def test_without_the_vectors_rows_stay_and_weights_are_known_for_the_scored_share_only(picker):
    values = vectors(61, seed=5)
    columns = again(picker, 0.5).columns(pool(values))
    # What a Parquet file keeps: numbers, no vectors.
    flat = Pool(61, generator(0), columns, "order", labels=values["target"].long())
    whole = pool(values | columns)
    assert torch.equal(picker.pick(flat).rows, picker.pick(whole).rows)
    assert torch.equal(again(picker, 0.2).rows(flat), again(picker, 0.2).pick(whole).rows)
    with pytest.raises(ValueError, match=r"scored with keep=0.50\d*, which made 31 picks, but 43 are needed"):
        again(picker, 0.7).rows(flat)
    assert torch.equal(again(picker, 0.7).pick(whole).rows, again(picker, 0.7).pick(pool(values)).rows)
    if picker.own_weights:
        assert torch.equal(picker.pick(flat).weights, picker.pick(whole).weights)
        with pytest.raises(ValueError, match=r"known for 31 picks only, not for 13.*weights='none'"):
            again(picker, 0.2).pick(flat)
    else:
        assert torch.equal(again(picker, 0.2).pick(flat).rows, again(picker, 0.2).pick(whole).rows)


@by_kind
def test_permuting_the_samples_permutes_the_choice(picker):
    values = vectors(50, seed=6)
    shuffle = torch.randperm(50, generator=generator(7))
    first = again(picker, 0.4).pick(pool(values))
    moved = again(picker, 0.4).pick(pool({name: column[shuffle] for name, column in values.items()}))
    back = shuffle[moved.rows]
    assert sorted(back.tolist()) == first.rows.tolist()
    if picker.own_weights:
        torch.testing.assert_close(moved.weights[back.argsort()], first.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("picker", PICKERS[1:], ids=lambda p: type(p).__name__)
def test_a_large_class_is_chosen_block_by_block(picker):
    values = vectors(50, seed=8)
    values["target"] = torch.zeros(50, dtype=torch.int32)
    split = again(picker, 0.4, block=20)
    picked = split.pick(pool(values))
    blocks = greedy.groups(values["target"].long(), 20, _block_rng())
    expected, raw = [], []
    for members, quota in zip(blocks.members, greedy.quotas(20, blocks).tolist(), strict=True):
        assert len(members) in (16, 17)
        inside = (values["residual"][members], values["features"][members])
        order, weights = split.picks(inside, quota, generator(9))
        expected += members[order].tolist()
        raw += weights.tolist()
    by_row = dict(zip(expected, raw, strict=True))
    assert picked.rows.tolist() == sorted(expected)
    scaled = torch.tensor([by_row[i] for i in sorted(by_row)])
    torch.testing.assert_close(picked.weights, scaled / scaled.mean(), rtol=1e-5, atol=1e-6)
    # The blocks are those of the seed, whatever was drawn from the generator before.
    columns = split.columns(pool(values))
    used = pool(values | columns)
    torch.rand(3, generator=used.rng)
    smaller = again(picker, 0.2, block=20).pick(used)
    assert set(smaller.rows.tolist()) <= set(expected)
    assert len(smaller.rows) == 10
    other = split.pick(pool(values, seed=1)).rows
    assert not torch.equal(other, picked.rows)


def _block_rng():
    return generator(generator(0).initial_seed(), "blocks")


def test_keeping_all_reads_nothing():
    for picker in PICKERS:
        assert again(picker, 1.0).everything
        assert again(picker, 1.0).pick(Pool(5, generator(0))) == Picked()
        assert again(picker, 1.0).rows(Pool(5, generator(0))).tolist() == [0, 1, 2, 3, 4]


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"MatchingPursuit.lam must be > 0, got 0"):
        MatchingPursuit(0.5, lam=0)
    with pytest.raises(ValueError, match=r"FacilityLocation.block must be >= 2, got 1"):
        FacilityLocation(0.5, block=1)
    with pytest.raises(ValueError, match=r"Herding.keep must be in \(0, 1\], got 70. Did you mean 0.7\?"):
        Herding(70)
