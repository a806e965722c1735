"""Coreset pickers and the distance they need, against slow references in plain Python."""

import math
import statistics
from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.pickers import MedianBlock, PerClass, Pool, Strata
from samplewise.pickers.coresets import ccs_allocate, ccs_beta, ccs_bins
from samplewise.rng import generator
from samplewise.trackers import ClassDistance

fast = settings(max_examples=80, deadline=None, derandomize=True)
inf, nan = float("inf"), float("nan")


def pool(values, name="distance", seed=0, **more):
    return Pool(len(values), generator(seed), {name: torch.as_tensor(values).float()}, name, **more)


def rows(picked, m):
    return list(range(m)) if picked.rows is None else picked.rows.tolist()


def kept(m, twentieths):
    return m - math.floor((1 - Fraction(twentieths, 20)) * m)


# ---------------------------------------------------------------------------------------- MedianBlock


def block(distances, twentieths):
    """Ranks round(m (1 - keep) / 2) and on, as many as the budget, in exact fractions."""
    m = len(distances)
    order = sorted(range(m), key=lambda i: (distances[i], i))
    start = math.floor(m * (1 - Fraction(twentieths, 20)) / 2 + Fraction(1, 2))
    return sorted(order[start : start + kept(m, twentieths)])


@fast
@given(st.lists(st.integers(0, 6), min_size=1, max_size=45), st.integers(1, 20))
def test_the_median_block_is_exact_for_every_size_and_share(distances, twentieths):
    m = len(distances)
    chosen = rows(MedianBlock(twentieths / 20).pick(pool(distances)), m)
    assert chosen == block(distances, twentieths)
    assert len(chosen) == kept(m, twentieths)


def test_the_block_lies_around_the_median_and_its_length_is_the_budget_at_the_far_end():
    # From round(2.5) to round(7.5) - 1.
    assert rows(MedianBlock(0.5).pick(pool(list(range(10)))), 10) == [3, 4, 5, 6, 7]
    # From round(1.5) to round(3.5) - 1; the budget is 2.
    assert rows(MedianBlock(0.4).pick(pool(list(range(5)))), 5) == [2, 3]
    # From round(0.75) to round(2.25) - 1 is one sample, but the budget is 2.
    assert rows(MedianBlock(0.5).pick(pool(list(range(3)))), 3) == [1, 2]


@fast
@given(st.lists(st.integers(0, 6), min_size=1, max_size=45), st.integers(1, 19))
def test_the_column_rank_is_a_strict_order_whose_best_are_the_block(distances, twentieths):
    picker = MedianBlock(twentieths / 20)
    scores = picker.columns(pool(distances))["rank"].tolist()
    assert len(set(scores)) == len(scores)
    best = sorted(range(len(scores)), key=lambda i: -scores[i])[: kept(len(scores), twentieths)]
    assert sorted(best) == block(distances, twentieths)


def test_of_two_equally_far_from_the_centre_the_nearer_to_its_class_comes_first():
    # The block of half of 4 is ranks 1 and 2, its centre 1.5.
    scores = MedianBlock(0.5).columns(pool([0.4, 0.1, 0.3, 0.2]))["rank"]
    assert scores.tolist() == [-1.75, -1.5, -0.75, -0.5]


def test_a_distance_that_is_not_known_has_no_rank():
    scores = MedianBlock(0.5).columns(pool([0.4, nan, 0.3, 0.2]))["rank"]
    assert scores.isnan().tolist() == [False, True, False, False]


def test_a_block_inside_each_class_ranks_inside_each_class():
    distances = torch.rand(90, generator=generator("distances"))
    labels = torch.arange(90) % 3
    labels[80:] = 1
    picker = PerClass(MedianBlock(0.4))
    chosen = rows(picker.pick(pool(distances, labels=labels)), 90)
    scores = picker.columns(pool(distances, labels=labels))["rank"]
    for label in range(3):
        members = [i for i in range(90) if labels[i] == label]
        own = [i for i in chosen if labels[i] == label]
        best = sorted(members, key=lambda i: -float(scores[i]))[: len(own)]
        assert sorted(best) == own
    assert len(chosen) == 36


def test_permuting_the_samples_permutes_the_block():
    distances = torch.rand(57, generator=generator("distances"))
    shuffle = torch.randperm(57, generator=generator("shuffle"))
    before = set(rows(MedianBlock(0.3).pick(pool(distances)), 57))
    after = rows(MedianBlock(0.3).pick(pool(distances[shuffle])), 57)
    assert {int(shuffle[i]) for i in after} == before


# -------------------------------------------------------------------------------------- ClassDistance


def reference_distances(features, targets, center):
    found = []
    for h, y in zip(features, targets, strict=True):
        mates = [g for g, z in zip(features, targets, strict=True) if z == y]
        of = statistics.median if center == "median" else statistics.fmean
        middle = [of([g[j] for g in mates]) for j in range(len(h))]
        found.append(math.dist(h, middle))
    return found


def watch(tracker, features, targets, cuts=()):
    """The final columns after the samples came in the given parts."""
    n = len(features)
    state = tracker.start(n, {"features": features[:0], "target": targets[:0]})
    for ids in torch.tensor_split(torch.arange(n), cuts):
        tracker.observe(state, ids, {"features": features[ids], "target": targets[ids]})
    tracker.finish(state)
    return state


@pytest.mark.parametrize("center", ["median", "mean"])
@pytest.mark.parametrize("n", [7, 40])
def test_the_distance_is_from_the_centre_of_the_class(center, n):
    features = torch.randn(n, 5, generator=generator(n, "features"))
    targets = torch.randint(4, (n,), generator=generator(n, "targets")) * 3
    state = watch(ClassDistance(center), features, targets)
    expected = reference_distances(features.tolist(), targets.tolist(), center)
    torch.testing.assert_close(state["distance"], torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_features_are_dropped_when_the_distance_is_known():
    features, targets = torch.eye(4), torch.tensor([0, 0, 1, 1])
    tracker = ClassDistance()
    state = watch(tracker, features, targets)
    assert state.keys() == {"distance"} == tracker.read(state).keys()
    assert tracker.ranks == "distance"
    # Two samples: the centre is their middle.
    torch.testing.assert_close(state["distance"], torch.full((4,), math.sqrt(0.5)))


def test_how_the_pass_is_cut_does_not_matter():
    features = torch.randn(50, 3, generator=generator("features"))
    targets = torch.arange(50) % 7
    whole = watch(ClassDistance(), features, targets)["distance"]
    assert torch.equal(watch(ClassDistance(), features, targets, [3, 4, 31])["distance"], whole)


def test_a_sample_that_was_not_seen_has_no_distance_and_moves_no_centre():
    features = torch.tensor([[0.0], [2.0], [100.0], [4.0]])
    tracker = ClassDistance()
    state = tracker.start(4, {"features": features[:0], "target": torch.empty(0, dtype=torch.int64)})
    ids = torch.tensor([3, 0, 1])
    tracker.observe(state, ids, {"features": features[ids], "target": torch.zeros(3, dtype=torch.int64)})
    tracker.finish(state)
    torch.testing.assert_close(state["distance"], torch.tensor([2.0, 0.0, nan, 2.0]), equal_nan=True)


def test_features_that_are_not_finite_are_refused_with_their_ids():
    features = torch.zeros(6, 2)
    features[4, 1], features[2, 0] = nan, inf
    with pytest.raises(ValueError, match=r"not finite .* ids \[2, 4\]"):
        watch(ClassDistance("mean"), features, torch.zeros(6, dtype=torch.int64))


def test_class_distance_names_what_it_follows():
    with pytest.raises(ValueError, match="must follow the signals features and target, got"):
        ClassDistance().start(4, {"loss": torch.ones(2)})
    with pytest.raises(ValueError, match="center must be one of 'median', 'mean'"):
        ClassDistance("middle")


# --------------------------------------------------------------------------------------------- Strata


@fast
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.integers(1, 30))
def test_strata_have_equal_widths_and_the_last_is_closed(scores, strata):
    found = ccs_bins(torch.tensor(scores).float(), strata).tolist()
    low, high = min(scores), max(scores)
    for score, stratum in zip(scores, found, strict=True):
        if low == high:
            assert stratum == 0
        else:
            assert stratum == min(strata - 1, math.floor(Fraction(score - low, high - low) * strata))


def test_the_greatest_score_is_in_the_last_stratum_when_all_are_negative():
    assert ccs_bins(torch.tensor([-3.0, -2.0, -1.0]), 300).tolist() == [0, 150, 299]


@fast
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(0, 400))
def test_budgets_add_up_and_none_exceeds_its_stratum(counts, budget):
    budgets = ccs_allocate(torch.tensor(counts), budget).tolist()
    assert sum(budgets) == min(budget, sum(counts))
    assert all(0 <= given <= count for given, count in zip(budgets, counts, strict=True))
    # Whoever is cut short gets as much as anybody, up to the rounding of one.
    short = [given for given, count in zip(budgets, counts, strict=True) if given < count]
    assert not short or max(budgets) - min(short) <= 1


def test_small_strata_are_visited_first_and_release_what_they_cannot_use():
    assert ccs_allocate(torch.tensor([100, 3, 0, 40]), 60).tolist() == [29, 3, 0, 28]


def test_the_cut_off_is_the_published_one_at_the_nearest_share():
    assert {ccs_beta(keep) for keep in (1, 0.8, 0.7, 0.6, 0.5, 0.4)} == {0}  # 0.4: between 50 and 70 %
    assert {ccs_beta(keep) for keep in (0.39, 0.3, 0.25, 0.2, 0.15)} == {0.1}
    assert {ccs_beta(keep) for keep in (0.14, 0.1, 0.01)} == {0.3}


@fast
@given(
    st.lists(st.integers(0, 40), min_size=4, max_size=60),
    st.integers(1, 10),
    st.integers(0, 9),
    st.integers(1, 9),
)
def test_strata_drop_the_hardest_and_fill_their_budgets(scores, twentieths, twentieth_beta, strata):
    m, k = len(scores), kept(len(scores), twentieths)
    cut = twentieth_beta * m // 20
    chosen = rows(Strata(twentieths / 20, twentieth_beta / 20, strata).pick(pool(scores, "aum")), m)
    hardest = sorted(range(m), key=lambda i: (-scores[i], i))[:cut]
    rest = [i for i in range(m) if i not in hardest]
    low, high = min(scores[i] for i in rest), max(scores[i] for i in rest)

    def stratum(i):
        if low == high:
            return 0
        return min(strata - 1, math.floor(Fraction(scores[i] - low, high - low) * strata))

    # Plain loops over METHODS A8: smallest stratum first, an equal share of what remains.
    counts = Counter(stratum(i) for i in rest)
    left, budgets = k, {}
    sizes = sorted((counts[s], s) for s in range(strata))
    for visited, (count, s) in enumerate(sizes):
        budgets[s] = min(count, left // (strata - visited))
        left -= budgets[s]
    assert chosen == sorted(set(chosen))
    assert len(chosen) == k
    assert not set(chosen) & set(hardest)
    assert Counter(stratum(i) for i in chosen) == Counter(budgets)


def test_an_infinite_score_counts_as_the_greatest_finite_one_plus_one():
    # Finite scores 0..8 and two infinite ones: ten strata of width 0.9 from 0 to 9, two in the last.
    scores = [*range(9), inf, inf]
    draws = [rows(Strata(10 / 11, 0.0, 10).pick(pool(scores, "f", seed)), 11) for seed in range(40)]
    assert all(set(range(9)) <= set(chosen) and len(chosen) == 10 for chosen in draws)
    assert {chosen[-1] for chosen in draws} == {9, 10}
    # They are the hardest, so a cut-off takes them first.
    assert rows(Strata(0.5, 0.2, 3).pick(pool(scores, "f")), 11)[-1] <= 8
    assert len(rows(Strata(0.5, 0.2, 3).pick(pool([inf] * 10, "f")), 10)) == 5


def test_without_a_cut_off_and_with_one_stratum_the_draw_is_uniform():
    draws = 1500
    seen = Counter(
        tuple(rows(Strata(0.4, 0.0, 1).pick(pool([5.0, 1.0, 9.0, 2.0, 7.0], "aum", seed)), 5))
        for seed in range(draws)
    )
    assert len(seen) == 10  # 2 of 5
    sd = math.sqrt(0.1 * 0.9 / draws)
    assert all(abs(times / draws - 0.1) <= 4.5 * sd for times in seen.values())


def test_inside_a_stratum_everybody_is_as_likely():
    scores, draws = [0.0, 0.1, 0.2, 0.3, 9.0, 9.5, 10.0], 1500  # strata of 4 and 3; 2 of each
    seen = Counter()
    for seed in range(draws):
        seen.update(rows(Strata(4 / 7, 0.0, 2).pick(pool(scores, "aum", seed)), 7))
    for i in range(7):
        chance = 2 / 4 if i < 4 else 2 / 3
        assert abs(seen[i] / draws - chance) <= 4.5 * math.sqrt(chance * (1 - chance) / draws)


def test_a_cut_off_that_leaves_too_few_is_an_error_that_says_what_would_do():
    with pytest.raises(
        ValueError,
        match=r"beta=0.5 drops the 50 hardest of 100 samples and leaves 50, but 70 must be kept. "
        r"Give a beta of at most 0.3",
    ):
        Strata(0.7, 0.5).pick(pool(list(range(100)), "aum"))
    assert len(rows(Strata(0.7, 0.3).pick(pool(list(range(100)), "aum")), 100)) == 70


@pytest.mark.parametrize("twentieths", range(1, 21))
@pytest.mark.parametrize("m", [1, 2, 5, 10, 23, 100])
def test_the_published_cut_off_always_leaves_enough(m, twentieths):
    scores = torch.rand(m, generator=generator(m))
    assert len(rows(Strata(twentieths / 20).pick(pool(scores, "aum")), m)) == kept(m, twentieths)


def test_strata_inside_each_class_keep_the_classes_shares():
    scores = torch.rand(100, generator=generator("scores"))
    labels = (torch.arange(100) >= 70).long()
    chosen = rows(PerClass(Strata(0.3)).pick(pool(scores, "aum", labels=labels)), 100)
    assert [sum(labels[i] == label for i in chosen) for label in (0, 1)] == [21, 9]
    assert not set(chosen) & set(scores[:70].topk(7).indices.tolist())  # beta is 0.1 here


def test_wrong_numbers_are_refused_by_name():
    for build, said in (
        (lambda: Strata(0.5, 1.0), r"Strata.beta must be in \[0, 1\)"),
        (lambda: Strata(0.5, strata=0), r"Strata.strata must be in \[1, 65536\]"),
        (lambda: Strata(50), r"Strata.keep must be in \(0, 1\], got 50. Did you mean 0.5\?"),
        (lambda: MedianBlock(0.0), r"MedianBlock.keep must be in \(0, 1\]"),
    ):
        with pytest.raises(ValueError, match=said):
            build()
