"""The numbers of a report, against plain loops."""

import math

import numpy as np
import pytest
import torch

from samplewise.coresets.history import SelectionHistory
from samplewise.coresets.table import ScoreTable
from samplewise.html.choices import choices
from samplewise.html.facts import Run
from samplewise.html.neighbours import redundancy
from samplewise.html.picks import picks, suspects
from samplewise.html.plan import CLASSES, SELECTIONS, group_shares, kept_by_class
from samplewise.html.rows import selected
from samplewise.html.scores import BINS, by_class, distribution

rng = np.random.default_rng(3)


def history_of(n, plans):
    kept = SelectionHistory(n)
    for epoch, ids in plans:
        kept.add(epoch, torch.tensor(ids))
    return kept


def test_the_share_of_each_class_that_a_selection_kept():
    labels = [0, 0, 0, 1, 1, 3]
    plans = [(0, [0, 1, 2, 3, 4, 5]), (2, [0, 3]), (5, [5])]
    table = ScoreTable(range(6), {}, [1] * 6, labels, None, history_of(6, plans))
    found = kept_by_class(Run("one", table))
    assert found.epochs == [0, 2, 5]
    assert found.classes == [0, 1, 3]
    for row, (_, ids) in enumerate(plans):
        assert found.all[row] == len(ids) / 6
        for column, label in enumerate(found.classes):
            members = [i for i in range(6) if labels[i] == label]
            assert found.by_class[row, column] == len([i for i in ids if i in members]) / len(members)


def test_of_many_selections_and_classes_the_ends_are_shown():
    n, classes = 400, 100
    labels = torch.arange(n) % classes
    plans = [(e, (labels >= 2 * (e % 3)).nonzero().squeeze(1).tolist()) for e in range(150)]
    table = ScoreTable(range(n), {}, [1] * n, labels, None, history_of(n, plans))
    found = kept_by_class(Run("one", table))
    assert len(found.epochs) == SELECTIONS
    assert (found.epochs[0], found.epochs[-1], found.made, found.known) == (0, 149, 150, 100)
    assert len(found.classes) == CLASSES
    assert {0, 1, 2, 3} <= set(found.classes)  # those that are kept least


def test_without_a_history_there_is_no_plan():
    assert kept_by_class(Run("one", ScoreTable(range(2), {}, [1, 1]))) is None
    assert kept_by_class(Run("one")) is None


def test_shares_of_groups_are_read_by_epoch():
    found = group_shares([{"epoch": 0, "share a b": 0.25, "keep": 1.0}, {"epoch": 3, "share a b": 0.5}])
    assert found == {"a b": [(0, 0.25), (3, 0.5)]}


def test_a_distribution_counts_every_sample_once():
    values = rng.normal(size=20_000)
    values[:7] = np.nan
    values[7] = np.inf
    found = distribution(values)
    assert found.unseen == 8
    assert int(found.counts.sum()) + found.beyond + found.unseen == len(values)
    known = sorted(v for v in values if math.isfinite(v))
    assert found.quantiles[0] == known[0]
    assert found.quantiles[-1] == known[-1]
    assert abs(found.quantiles[3] - (known[len(known) // 2] + known[(len(known) - 1) // 2]) / 2) < 1e-12
    low, high = found.edges[10], found.edges[11]
    assert found.counts[10] == sum(low <= v < high for v in known)


@pytest.mark.parametrize("values", [[], [math.nan] * 3])
def test_no_number_is_no_distribution(values):
    assert distribution(np.array(values, dtype=np.float32)) is None


def test_one_value_has_a_distribution():
    found = distribution(np.full(9, 2.5))
    assert len(found.counts) == BINS
    assert int(found.counts.sum()) == 9


def test_classes_are_counted():
    labels = rng.integers(0, 5, 200)
    labels[labels == 3] = 4
    times, loss = rng.integers(0, 3, 200), rng.normal(size=200).astype(np.float32)
    loss[:20] = np.nan
    for row in by_class(ScoreTable(range(200), {"loss": loss}, times, labels), "loss"):
        mine = [i for i in range(200) if labels[i] == row.label]
        assert row.samples == len(mine) > 0
        assert row.times == pytest.approx(sum(times[i] for i in mine) / len(mine))
        assert row.never == sum(times[i] == 0 for i in mine)
        assert row.median == pytest.approx(np.median([loss[i] for i in mine if loss[i] == loss[i]]))
    assert by_class(ScoreTable(range(2), {}, [1, 1]), None) == []


def test_plain_counts_are_split_at_none_and_at_the_most():
    found = choices(ScoreTable(range(5), {}, [0, 0, 1, 3, 3]))
    assert found.shares == pytest.approx({"never": 0.4, "sometimes": 0.2, "always": 0.4})
    assert [(low, high, count) for low, high, count, _ in found.bins] == [
        (-0.5, 0.5, 2), (0.5, 1.5, 1), (1.5, 2.5, 0), (2.5, 3.5, 2),
    ]  # fmt: skip


def test_with_a_history_the_counts_by_chance_are_beside():
    n = 300
    plans = [(e, sorted(rng.choice(n, n // 2, replace=False).tolist())) for e in range(6)]
    kept = history_of(n, plans)
    found = choices(ScoreTable(range(n), {}, kept.times(), None, None, kept))
    assert sum(count for _, _, count, _ in found.bins) == n
    expected = [n * math.comb(6, k) / 2**6 for k in range(7)]
    assert [chance for *_, chance in found.bins] == pytest.approx(expected)


def test_a_selection_that_cannot_be_fitted_is_counted():
    kept = history_of(4, [(0, [0, 1])])
    found = choices(ScoreTable(range(4), {}, kept.times(), None, None, kept))
    assert "one selection" in found.said
    assert found.shares["never"] == 0.5


def test_the_samples_to_look_at():
    n = 50
    loss = torch.arange(n).double()
    loss[49] = float("nan")
    table = ScoreTable(range(n), {"loss": loss}, [int(i != 7) for i in range(n)], torch.zeros(n).long())
    both, never = picks(table, True, 3)
    assert both.at.tolist() == [48, 47, 46]
    assert both.values == [48.0, 47.0, 46.0]
    assert "suspected" in both.title
    assert never.at.tolist() == [7]


def test_suspects_are_ranked_by_the_column_that_tells_labels():
    table = ScoreTable([4, 9, 11], {"margin": [0.5, -1.0, 2.0], "aum": [0.1, 0.3, 0.2]}, [1, 1, 1], [0, 1, 0])
    assert suspects(table, True).ids.tolist() == [9, 11, 4]
    kinds = {pick.title: pick.at.tolist() for pick in picks(table, True, 2)}
    assert kinds == {"Hardest": [2, 0], "Suspected wrong labels": [1, 2]}


def test_the_rows_that_matter_are_chosen_once_each():
    n, most = 1000, 100
    loss = torch.randperm(n, generator=torch.Generator().manual_seed(0)).double()
    table = ScoreTable(range(n), {"loss": loss}, [int(i % 9 > 0) for i in range(n)], torch.arange(n) % 3)
    found = selected([Run("one", table, class_names=["a", "b", "c"])], most)
    assert found.heads == ["id", "why", "class", "times selected", "loss"]
    assert found.numeric == [True, False, False, True, True]
    ids = [row[0] for row in found.rows]
    assert len(ids) == len(set(ids)) == most
    by_loss = sorted(range(n), key=lambda i: -float(loss[i]))
    assert {row[0] for row in found.rows if row[1] == "hardest"} == set(by_loss[:40])
    assert all(row[3] == 0 for row in found.rows if row[1] == "never used")
    assert sum(row[1] == "never used" for row in found.rows) == 20
    for row in found.rows:
        assert row[2] == "abc"[row[0] % 3]
        assert row[4] == float(loss[row[0]])


def test_all_rows_of_a_small_run_are_there_and_of_two_runs_half_each():
    one = Run("one", ScoreTable(range(10), {"loss": torch.rand(10)}, [1] * 10))
    two = Run("two", ScoreTable(range(90), {"el2n": torch.rand(90)}, [1] * 90))
    found = selected([one], 100)
    assert [row[1] for row in found.rows] == ["all samples"] * 10
    found = selected([one, two], 40)
    assert found.heads == ["id", "why", "run", "times selected", "loss", "el2n"]
    assert [sum(row[2] == name for row in found.rows) for name in ("one", "two")] == [10, 20]
    assert all((row[4] is None) == (row[2] == "two") for row in found.rows)


def test_nearest_neighbours_are_those_of_a_plain_loop():
    vectors = rng.normal(size=(40, 3))
    vectors[31] = 2 * vectors[5]
    found = redundancy(vectors, 2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = [max(float(unit[i] @ unit[j]) for j in range(40) if j != i) for i in range(40)]
    assert sorted(found.alike) == pytest.approx(sorted(alike), abs=1e-6)
    assert found.pairs[0][:2] == (5, 31)
    assert found.pairs[0][2] == pytest.approx(1)
    assert len({pair[:2] for pair in found.pairs}) == 2


def test_one_sample_has_no_neighbour():
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        redundancy(np.zeros((1, 3)))
