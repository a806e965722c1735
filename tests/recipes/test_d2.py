"""`d2` against plain loops: message passing over the graph of nearest neighbors."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from coreset_runs import recorded, shown
from plain import count

import samplewise as sw

N, EPOCHS, CLASSES = 17, 4, 3


def trajectories(seed):
    """For each of EPOCHS + 1 moments the logits, targets and features of N samples. Small whole numbers."""
    rng = np.random.default_rng(seed)
    targets = [0] * 7 + [1] * 6 + [2] * 4
    return [
        (
            rng.integers(-3, 4, (N, CLASSES)).astype(float).tolist(),
            targets,
            (rng.integers(0, 4, (N, 2)) / 2).tolist(),
        )
        for _ in range(EPOCHS + 1)
    ]


def forgotten(table):
    """How often each sample fell from right to wrong. Never right: the greatest number plus 1."""
    found = []
    for i in range(N):
        right = [z[i].index(max(z[i])) == y[i] for z, y, _ in table[:EPOCHS]]
        falls = sum(before and not now for before, now in pairwise(right))
        found.append(falls if any(right) else math.inf)
    most = max((x for x in found if x < math.inf), default=-1.0)
    return [most + 1 if x == math.inf else x for x in found]


def negative_margins(table):
    """Minus the mean margin of the logits over the epochs, shifted so that the least is 0."""
    found = []
    for i in range(N):
        leads = [max(v for c, v in enumerate(z[i]) if c != y[i]) - z[i][y[i]] for z, y, _ in table[:EPOCHS]]
        found.append(sum(leads) / EPOCHS)
    return [x - min(0.0, *found) for x in found]


def order_of(members, difficulty, features, k, gamma_f=1.0, gamma_r=0.1):
    """The members in the order of picking."""

    def square(i, j):
        return sum((a - b) ** 2 for a, b in zip(features[i], features[j], strict=True))

    near = {i: sorted((j for j in members if j != i), key=lambda j: (square(i, j), j))[:k] for i in members}
    joined = {i: [j for j in members if j != i and (j in near[i] or i in near[j])] for i in members}
    left = {
        i: difficulty[i] + sum(math.exp(-gamma_f * square(i, j)) * difficulty[j] for j in joined[i])
        for i in members
    }
    order = []
    while left:
        pick = max(left, key=lambda i: (round(left[i], 9), -i))
        x = left.pop(pick)
        order.append(pick)
        for j in joined[pick]:
            if j in left:
                left[j] -= math.exp(-gamma_r * square(pick, j)) * x
    return order


def score_column(order, k):
    column = [float(-N)] * N
    for turn, i in enumerate(order[:k]):
        column[i] = float(-turn)
    return column


def outputs(table):
    return [shown(*moment) for moment in table]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("keep", "neighbors", "gammas"), [(0.3, 2, (1.0, 0.1)), (0.6, 5, (0.5, 1.0)), (0.9, 40, (0, 0))]
)
def test_the_coreset_is_that_of_the_equations(seed, keep, neighbors, gammas):
    table = trajectories(seed)
    policy = sw.recipes.d2(keep, neighbors=neighbors, gamma_f=gammas[0], gamma_r=gammas[1])
    selector, passes = recorded(policy, outputs(table))
    # The features are those of the last training forward of each sample.
    order = order_of(range(N), forgotten(table), table[EPOCHS - 1][2], neighbors, *gammas)
    k = count(N, keep)
    assert passes == []
    assert selector.score().tolist() == score_column(order, k)
    subset = selector.subset()
    assert subset.ids.tolist() == sorted(order[:k])
    assert subset.weights is None


@pytest.mark.parametrize("seed", range(3))
def test_scores_below_zero_are_shifted(seed):
    table = trajectories(seed)
    policy = sw.recipes.d2(0.5, score="aum", neighbors=3)
    selector, _ = recorded(policy, outputs(table))
    soft = [(torch.tensor(z).softmax(1).tolist(), y, h) for z, y, h in table]
    order = order_of(range(N), negative_margins(soft), table[EPOCHS - 1][2], 3)
    assert selector.subset().ids.tolist() == sorted(order[: count(N, 0.5)])


def test_a_score_of_a_pass_takes_the_features_of_the_pass():
    table = trajectories(5)
    selector, passes = recorded(sw.recipes.d2(0.5, score="entropy", neighbors=3), outputs(table))
    difficulty = []
    for z in table[EPOCHS][0]:
        p = [math.exp(v) / sum(math.exp(w) for w in z) for v in z]
        difficulty.append(-sum(q * math.log(q) for q in p))
    order = order_of(range(N), difficulty, table[EPOCHS][2], 3)
    assert passes == [EPOCHS]
    assert selector.subset().ids.tolist() == sorted(order[: count(N, 0.5)])


def test_one_run_serves_every_smaller_share_and_a_larger_one_picks_again():
    table = trajectories(6)
    selector, _ = recorded(sw.recipes.d2(0.6, neighbors=3), outputs(table))
    order = order_of(range(N), forgotten(table), table[EPOCHS - 1][2], 3)
    for keep in (0.1, 0.4, 0.6, 0.9):
        assert selector.subset(keep=keep).ids.tolist() == sorted(order[: count(N, keep)])


@pytest.mark.parametrize("first", [False, True])
def test_with_balance_each_class_has_its_own_graph(first):
    table = trajectories(7)
    targets = table[0][1]
    policy = sw.recipes.d2(0.5, neighbors=2, balance=first)
    selector, _ = recorded(policy, outputs(table), labels=torch.tensor(targets))
    difficulty, features = forgotten(table), table[EPOCHS - 1][2]
    kept = []
    for c, quota in ((0, 4), (1, 3), (2, 2)):  # 9 of 17 samples, in proportion to 7, 6 and 4
        kept += order_of([i for i in range(N) if targets[i] == c], difficulty, features, 2)[:quota]
    assert selector.subset(balance=True).ids.tolist() == sorted(kept)
    whole = order_of(range(N), difficulty, features, 2)[:9]
    assert selector.subset(balance=False).ids.tolist() == sorted(whole)


def test_a_table_without_features_cannot_change_the_balance(tmp_path):
    table = trajectories(8)
    labels = torch.tensor(table[0][1])
    selector, _ = recorded(sw.recipes.d2(0.5), outputs(table), labels=labels)
    selector.table().to_parquet(tmp_path / "scores.parquet")
    read = sw.ScoreTable.read(tmp_path / "scores.parquet")
    assert torch.equal(read.subset("d2", keep=0.3).ids, selector.subset(keep=0.3).ids)
    with pytest.raises(ValueError, match=r"scored with balance=False, and a table has no features"):
        read.subset("d2", balance=True)


def test_of_equal_samples_the_first_is_picked_first():
    same = ([[1.0, 0.0, 0.0]] * N, [0] * N, [[1.0, 2.0]] * N)
    selector, _ = recorded(sw.recipes.d2(0.5, neighbors=N), outputs([same] * (EPOCHS + 1)))
    assert selector.subset().ids.tolist() == list(range(9))


def test_features_that_are_far_apart_leave_the_score_alone():
    table = [(z, y, [[1e6 * i, 0.0] for i in range(N)]) for z, y, _ in trajectories(9)]
    selector, _ = recorded(sw.recipes.d2(0.5), outputs(table))
    difficulty = forgotten(table)
    ranked = sorted(range(N), key=lambda i: (-difficulty[i], i))
    assert selector.subset().ids.tolist() == sorted(ranked[:9])


@pytest.mark.parametrize("score", ["moderate", "herding", "d2", "ccs", "random", "ucb", "agony"])
def test_a_method_without_a_score_of_its_own_is_refused(score):
    with pytest.raises(ValueError, match=rf"d2\.score must be the name of a static method .*got '{score}'"):
        sw.recipes.d2(score=score)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"neighbors": 0}, r"d2\.neighbors must be >= 1, got 0"),
        ({"gamma_f": -1.0}, r"d2\.gamma_f must be >= 0, got -1"),
        ({"gamma_r": float("nan")}, r"d2\.gamma_r must be"),
        ({"keep": 30}, r"d2\.keep must be in \(0, 1\], got 30"),
    ],
)
def test_bad_numbers_are_refused_at_the_start(given, said):
    with pytest.raises(ValueError, match=said):
        sw.recipes.d2(**given)


def test_features_that_are_missing_or_not_finite_are_refused():
    table = trajectories(0)
    bare = [shown(z, y) for z, y, _ in table]
    with pytest.raises(ValueError, match="needs features"):
        recorded(sw.recipes.d2(0.5), bare)
    table[1][2][3][0] = math.inf
    with pytest.raises(ValueError, match=r"not finite for ids \[3\]"):
        recorded(sw.recipes.d2(0.5), outputs(table))
