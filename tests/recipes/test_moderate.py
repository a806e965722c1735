"""`moderate` (METHODS A7) against plain loops."""

import math
import statistics

import pytest
import torch
from coreset_runs import recorded, shown
from plain import count

import samplewise as sw

TARGETS = [0, 0, 0, 0, 1, 1, 1, 1]
FEATURES = [
    [[0.0, 0.0], [1.0, 0.5], [4.0, 0.0], [0.5, 7.0], [0.0, 1.0], [0.25, 1.5], [6.0, 2.0], [0.0, 9.0]],
    [[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [8.0, 0.0], [5.0, 5.0], [5.0, 6.5], [4.0, 5.25], [9.0, 5.0]],
]


def table():
    return [shown([[0.0, 1.0]] * 8, TARGETS, h) for h in FEATURES]


def distances(features, center):
    found = []
    for h, y in zip(features, TARGETS, strict=True):
        mates = [g for g, z in zip(features, TARGETS, strict=True) if z == y]
        of = statistics.median if center == "median" else statistics.fmean
        found.append(math.dist(h, [of([g[j] for g in mates]) for j in range(2)]))
    return found


def kept_ranks(n, keep):
    start = math.floor(n * (1 - keep) / 2 + 0.5 + 1e-9)
    return start, count(n, keep)


@pytest.mark.parametrize("center", ["median", "mean"])
@pytest.mark.parametrize(("at", "epoch"), [("end", 1), (0, 0)])
def test_the_kept_are_the_block_around_the_median_distance(center, at, epoch):
    expected = distances(FEATURES[epoch], center)
    order = sorted(range(8), key=lambda i: (round(expected[i], 5), i))
    for keep in (0.25, 0.4, 0.5, 0.9):
        selector, passes = recorded(sw.recipes.moderate(keep=keep, center=center, at=at), table())
        assert passes == [epoch]
        torch.testing.assert_close(selector.score("moderate_distance"), torch.tensor(expected))
        start, k = kept_ranks(8, keep)
        assert selector.subset().ids.tolist() == sorted(order[start : start + k])
        centre = start + (k - 1) / 2
        ranks = [order.index(i) for i in range(8)]
        column = [-abs(rank - centre) - 0.25 * (rank > centre) for rank in ranks]
        assert selector.score().tolist() == column


def test_another_share_is_chosen_from_the_distance_anew():
    selector, _ = recorded(sw.recipes.moderate(keep=0.9), table())
    for keep in (0.1, 0.3, 0.6, 1.0):
        own, _ = recorded(sw.recipes.moderate(keep=keep), table()) if keep < 1 else (None, None)
        expected = list(range(8)) if own is None else own.subset().ids.tolist()
        assert selector.subset(keep=keep).ids.tolist() == expected


def test_the_choice_survives_a_table_on_disk(tmp_path):
    selector, _ = recorded(sw.recipes.moderate(keep=0.9), table())
    selector.table().to_parquet(tmp_path / "scores.parquet")
    read = sw.ScoreTable.read(tmp_path / "scores.parquet")
    assert read.columns.keys() == {"moderate", "moderate_distance"}
    for keep in (0.3, 0.5):
        assert read.subset("moderate", keep=keep).ids.tolist() == selector.subset(keep=keep).ids.tolist()


def test_with_balance_the_block_is_that_of_each_class():
    labels = torch.tensor(TARGETS)
    selector, _ = recorded(sw.recipes.moderate(keep=0.5, balance=True), table(), labels=labels)
    found = [round(value, 5) for value in distances(FEATURES[1], "median")]
    expected = []
    for members in (range(4), range(4, 8)):
        order = sorted(members, key=lambda i: (found[i], i))
        expected += order[1:3]
    assert selector.subset().ids.tolist() == sorted(expected)
    assert sorted(selector.score()[:4].tolist()) == [-1.75, -1.5, -0.75, -0.5]


def test_permuting_the_samples_permutes_the_choice():
    shuffle = [3, 5, 0, 7, 2, 1, 4, 6]
    straight, _ = recorded(sw.recipes.moderate(), table())
    mixed = [
        shown([[0.0, 1.0]] * 8, [TARGETS[i] for i in shuffle], [h[i] for i in shuffle]) for h in FEATURES
    ]
    permuted, _ = recorded(sw.recipes.moderate(), mixed)
    assert torch.equal(permuted.score("moderate_distance"), straight.score("moderate_distance")[shuffle])
    assert {shuffle[i] for i in permuted.subset().ids.tolist()} == set(straight.subset().ids.tolist())


def test_features_are_asked_for_by_name():
    assert sw.recipes.moderate().needs == ("loss", "features", "targets")
    bare = [shown([[0.0, 1.0]] * 8, TARGETS)] * 2
    with pytest.raises(ValueError, match="needs features"):
        recorded(sw.recipes.moderate(), bare)
