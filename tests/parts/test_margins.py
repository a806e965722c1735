"""Class margins and the class-balanced picking by them (DynaMS, METHODS B6), against plain loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise import signals
from samplewise.data.outputs import Outputs
from samplewise.pickers import ClassBalanced, Nested, Pool, TopK
from samplewise.pickers.margins import nearest, nearest_held, quotas
from samplewise.signals import class_margins
from samplewise.trackers import Margins

INF = math.inf


def head(seed, b=9, c=4, d=5):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    return draw(b, d), torch.randint(c, (b,), generator=rng), draw(c, d), draw(c)


def plain(h, y, w, b, signed=False):
    """The definition, number by number."""
    found = []
    for i in range(len(h)):
        row = []
        for c in range(len(w)):
            if c == y[i]:
                row.append(INF)
                continue
            direction = [float(w[y[i], k] - w[c, k]) for k in range(w.shape[1])]
            length = math.sqrt(sum(x * x for x in direction))
            ahead = sum(x * float(h[i, k]) for k, x in enumerate(direction))
            ahead += 0.0 if b is None else float(b[y[i]] - b[c])
            row.append(INF if not length else (ahead if signed else abs(ahead)) / length)
        row[int(y[i])] = min(row)
        found.append(row)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("classes", [4, 20])
def test_margins_are_distances_to_the_boundaries(signed, bias, classes):
    h, y, w, b = head(1, c=classes)
    b = b if bias else None
    expected = plain(h, y, w, b, signed)
    torch.testing.assert_close(class_margins(h, y, w, b, signed), expected)
    logits = h @ w.T + (0 if b is None else b)
    torch.testing.assert_close(class_margins(h, y, w, b, signed, logits), expected)
    name = signals.signed_margins if signed else signals.margins
    torch.testing.assert_close(name(h, y, w, b, logits), expected)
    if not signed:
        torch.testing.assert_close(signals.nearness(h, y, w, b, logits), -expected.min(1).values)


def test_the_own_column_is_the_least_of_the_others():
    h, y, w, b = head(2)
    found = class_margins(h, y, w, b)
    for row, label in zip(found, y.tolist(), strict=True):
        assert row[label] == min(row[c] for c in range(4) if c != label)


def test_margins_do_not_move_with_what_moves_no_boundary():
    h, y, w, b = head(3)
    expected = class_margins(h, y, w, b)
    torch.testing.assert_close(class_margins(h, y, w + torch.randn(5, dtype=torch.float64), b + 3), expected)
    torch.testing.assert_close(class_margins(h, y, 7 * w, 7 * b), expected)
    logits = h @ w.T + b + torch.randn(9, 1, dtype=torch.float64)  # another constant in each row
    torch.testing.assert_close(class_margins(h, y, w, b, logits=logits), expected)
    assert (class_margins(h, y, 7 * w, b) - expected).abs().max() > 0.1


@pytest.mark.parametrize("power", [100, -100])
@pytest.mark.parametrize("b", [3, 9])
def test_margins_move_with_the_scale_of_the_features_alone(power, b):
    h, y, w, bias = (part.float() if part.is_floating_point() else part for part in head(5, b=b))
    moved = class_margins(h * 2.0**power, y, w / 2.0**power, bias)
    assert torch.equal(moved, class_margins(h, y, w, bias) * 2.0**power)


def test_classes_with_equal_weights_have_no_boundary():
    h, y, w, b = head(4)
    w[2] = w[1]
    y[:] = torch.tensor([1, 2, 0, 1, 2, 3, 1, 1, 2])
    found = class_margins(h, y, w, b)
    assert found[0, 2] == found[1, 1] == INF
    torch.testing.assert_close(found, plain(h, y, w, b))
    assert torch.isfinite(found[2]).all()


def test_signed_margins_are_negative_where_another_class_is_ahead():
    h, y, w, b = head(5, b=40)
    logits = h @ w.T + b
    found = class_margins(h, y, w, b, signed=True)
    wrong = logits.argmax(1) != y
    assert 0 < int(wrong.sum()) < 40
    assert torch.equal(found.amin(1) < 0, wrong)
    torch.testing.assert_close(
        found.abs().scatter(1, y[:, None], 0), class_margins(h, y, w, b).scatter(1, y[:, None], 0)
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"features": torch.zeros(9, 4).double()},
            "features must have 5 numbers a sample, as the head takes, got 4",
        ),
        ({"logits": torch.zeros(9, 3).double()}, "logits must have the 4 classes of the head, got 3"),
        ({"targets": torch.full((9,), 4)}, "class numbers of the head's 4 classes, got 4 to 4"),
        ({"targets": torch.full((9,), -1)}, "class numbers of the head's 4 classes, got -1 to -1"),
    ],
)
def test_what_does_not_fit_the_head_is_refused(change, words):
    h, y, w, b = head(6)
    with pytest.raises(ValueError, match=words):
        class_margins(**({"features": h, "targets": y, "weight": w, "bias": b} | change))


def test_a_signal_without_features_or_head_says_what_to_return():
    h, y, w, b = head(7)
    with pytest.raises(ValueError, match=r"x needs features: return sw.Outputs\(loss=..., features=...\)"):
        signals.measure((signals.margins,), Outputs(torch.zeros(9), targets=y, head=(w, b)), "x")
    with pytest.raises(ValueError, match="x needs head"):
        signals.measure((signals.margins,), Outputs(torch.zeros(9), targets=y, features=h), "x")
    without = signals.measure((signals.margins,), Outputs(torch.zeros(9), None, y, h, (w, None)), "x")
    torch.testing.assert_close(without["margins"], plain(h, y, w, None).float())  # as it is remembered


# -------------------------------------------------------------------------------- picking


def algorithm_1(matrix, k):
    """Column after column the quota's smallest among those not taken, equal ones by index."""
    n, classes = len(matrix), len(matrix[0])
    taken = []
    for c in range(classes):
        quota = k // classes + (1 if c < k % classes else 0)
        left = [i for i in range(n) if i not in taken]
        taken += sorted(left, key=lambda i: (matrix[i][c], i))[:quota]
    return sorted(taken)


def drawn(data, n, classes):
    """A matrix with ties, infinite numbers and correlated columns."""
    seed = data.draw(st.integers(0, 10_000))
    rng = torch.Generator().manual_seed(seed)
    kind = data.draw(st.sampled_from(["ties", "numbers", "correlated", "infinite"]))
    found = torch.rand(n, classes, generator=rng)
    if kind == "ties":
        found = (4 * found).round()
    elif kind == "correlated":
        found = 0.1 * found + torch.rand(n, 1, generator=rng)
    elif kind == "infinite":
        found[torch.rand(n, classes, generator=rng) < 0.4] = INF
    return found


@settings(max_examples=200)
@given(st.data(), st.integers(1, 40), st.integers(1, 7))
def test_the_picker_is_algorithm_1_and_the_variant_that_holds_less_chooses_the_same(data, n, classes):
    k = data.draw(st.integers(0, n))
    matrix = drawn(data, n, classes)
    expected = algorithm_1(matrix.tolist(), k)
    assert nearest(matrix, k).tolist() == expected
    assert nearest(matrix.T.contiguous().T, k).tolist() == expected
    assert len(set(expected)) == k
    held, cut = data.draw(st.integers(1, n)), data.draw(st.integers(1, n))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(k))
    rows, reads = nearest_held(lambda: ((ids, matrix[ids]) for ids in order.split(cut)), n, classes, k, held)
    assert rows.tolist() == expected
    assert reads == 0 if k == n else reads >= 1


def test_large_columns_are_cut_by_a_threshold_that_never_changes_the_choice():
    rng = torch.Generator().manual_seed(0)
    n, classes = 40_000, 30
    for matrix in (
        torch.rand(n, classes, generator=rng),
        0.01 * torch.rand(n, classes, generator=rng) + torch.rand(n, 1, generator=rng),
        torch.randint(3, (n, classes), generator=rng).float(),
    ):
        for k in (7, 900, 24_001, n - 1):
            free = torch.ones(n, dtype=torch.bool)
            for c, quota in enumerate(quotas(k, classes)):
                ranked = matrix[:, c].double().masked_fill(~free, INF).argsort(stable=True)
                free[ranked[:quota]] = False
            assert torch.equal(nearest(matrix, k), (~free).nonzero().flatten())


def test_a_column_that_runs_dry_is_read_again_with_twice_as_many_held():
    matrix = torch.arange(12.0)[:, None].repeat(1, 3)  # every column has the same order
    rows, reads = nearest_held(lambda: [(torch.arange(12), matrix)], 12, 3, 9, held=3)
    assert rows.tolist() == list(range(9))
    assert reads == 3  # 3, then 6, then 12
    apart = torch.stack([matrix[:, 0], 20 - matrix[:, 0], (matrix[:, 0] - 5.5).abs()], dim=1)
    rows, reads = nearest_held(lambda: [(torch.arange(12), apart)], 12, 3, 6, held=2)
    assert rows.tolist() == algorithm_1(apart.tolist(), 6)
    assert reads == 1


def test_never_observed_rows_come_first_and_no_boundary_comes_last():
    matrix = torch.tensor([[INF, 1.0], [float("nan"), 3.0], [2.0, INF], [5.0, 2.0]])
    assert nearest(matrix, 2).tolist() == [0, 1]
    assert nearest(matrix, 3).tolist() == [0, 1, 2]
    assert nearest(torch.full((4, 2), INF), 3).tolist() == [0, 1, 2]


def test_the_tracker_writes_columns_together_and_drops_them_after_the_choice():
    tracker, values = Margins(), torch.tensor([[3.0, 1.0], [2.0, 4.0]])
    state = tracker.start(5, {"margins": values})
    tracker.observe(state, torch.tensor([3, 0]), {"margins": values})
    assert state["margins"].stride() == (1, 5)
    assert state["margins"][3].tolist() == [3.0, 1.0]
    assert state["margins"][0].tolist() == [2.0, 4.0]
    assert state["nearest"][[3, 0]].tolist() == [-1.0, -2.0]
    assert bool(state["nearest"][1].isnan())
    assert state["margins"].clone().stride() == (1, 5)
    tracker.chosen(state)
    assert set(state) == {"nearest"}
    tracker.observe(state, torch.tensor([1]), {"margins": values[:1]})
    assert state["margins"][1].tolist() == [3.0, 1.0]
    assert bool(state["margins"][3].isnan().all())


def test_nested_chooses_its_share_of_all_among_those_chosen_before():
    scores = torch.arange(10.0)
    pool = Pool(10, torch.Generator(), {"loss": scores}, "loss", before=torch.tensor([0, 2, 3, 5, 6, 8]))
    assert Nested(TopK(0.3)).pick(pool).rows.tolist() == [5, 6, 8]
    assert Nested(TopK(0.9)).pick(pool).rows.tolist() == [0, 2, 3, 5, 6, 8]
    assert Nested(TopK(0.3)).pick(pool._replace(before=None)).rows.tolist() == [7, 8, 9]
    assert Nested(TopK(1.0)).pick(pool).rows is None
    balanced = pool._replace(values={"margins": scores[:, None].repeat(1, 2)}, ranks="nearest")
    assert Nested(ClassBalanced(0.3)).pick(balanced).rows.tolist() == [0, 2, 3]
