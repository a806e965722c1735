"""Everything that joins on ids holds its rows sorted by id, from any kind of whole numbers in any order."""

import numpy as np
import pandas as pd
import pytest
import torch

import samplewise as sw
from samplewise.coresets.table import ScoreTable
from samplewise.data.byid import by_id, whole_numbers

N = 12
SCORES = {i: float((i * 5) % N) for i in range(N)}
LABELS = {i: i % 3 for i in range(N)}
TIMES = {i: i + 1 for i in range(N)}
NOTE = {"n": N, "methods": {"el2n": "recipes.el2n(keep=0.5)"}, "fingerprint": "f"}
ORDERS = {
    "sorted": list(range(N)),
    "turned": list(range(N))[::-1],
    "shuffled": np.random.default_rng(0).permutation(N).tolist(),
}


def table(order, **changes):
    """One and the same table with its rows in some order."""
    given = {
        "ids": torch.tensor(order),
        "columns": {"el2n": torch.tensor([SCORES[i] for i in order])},
        "times_selected": torch.tensor([TIMES[i] for i in order]),
        "labels": torch.tensor([LABELS[i] for i in order]),
        "provenance": NOTE,
    }
    return ScoreTable(**given | changes)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_every_number_of_a_table_stays_with_its_id(order):
    rows = table(order)
    told = zip(rows.ids, rows["el2n"], rows.labels, rows.times_selected, strict=True)
    for i, (own, score, label, times) in enumerate(told):
        assert (int(own), float(score), int(label), int(times)) == (i, SCORES[i], LABELS[i], TIMES[i])


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("weights", ["per_sample", "batch_mean"])
def test_a_subset_is_written_sorted_with_each_weight_at_its_own_id(tmp_path, order, weights):
    subset = table(ORDERS["sorted"]).subset("el2n", weights=weights)
    subset.to_parquet(tmp_path / "s.parquet", table(order))
    frame = pd.read_parquet(tmp_path / "s.parquet")
    assert frame["id"].tolist() == list(range(N))
    own = dict(zip(subset.ids.tolist(), subset.weights.tolist(), strict=True))
    assert frame["weight"].tolist() == pytest.approx([own.get(i, 0.0) for i in range(N)])
    assert frame["el2n"].tolist() == [SCORES[i] for i in range(N)]
    assert sw.Subset.read(tmp_path / "s.parquet") == subset


def test_a_file_that_another_tool_shuffled_reads_as_before(tmp_path):
    written = table(ORDERS["sorted"])
    written.to_parquet(tmp_path / "t.parquet")
    written.subset("el2n", weights="per_sample").to_parquet(tmp_path / "s.parquet", written)
    for name in ("t", "s"):
        frame = pd.read_parquet(tmp_path / f"{name}.parquet")
        frame.sample(frac=1, random_state=1).to_parquet(tmp_path / f"{name}2.parquet", index=False)
    read = ScoreTable.read(tmp_path / "t2.parquet")
    for name in ("ids", "labels", "times_selected"):
        assert torch.equal(getattr(read, name), getattr(written, name))
    assert torch.equal(read["el2n"], written["el2n"])
    assert sw.Subset.read(tmp_path / "s2.parquet") == sw.Subset.read(tmp_path / "s.parquet")


def test_runs_combine_by_id_whatever_the_order_of_their_rows():
    both = ScoreTable.combine([table(order) for order in ORDERS.values()], "sum")
    assert both.ids.tolist() == list(range(N))
    assert both["el2n"].tolist() == [3 * SCORES[i] for i in range(N)]
    assert both.times_selected.tolist() == [3 * TIMES[i] for i in range(N)]
    assert both.labels.tolist() == [LABELS[i] for i in range(N)]


def test_labels_of_combined_tables_must_agree_and_may_be_known_to_one():
    plain = table(ORDERS["sorted"])
    other = table(ORDERS["sorted"], labels=torch.zeros(N, dtype=torch.int64))
    with pytest.raises(ValueError, match="combine needs tables of the same data set"):
        ScoreTable.combine([plain, other])
    unknown = table(ORDERS["turned"], labels=None)
    assert ScoreTable.combine([unknown, plain]).labels.tolist() == [LABELS[i] for i in range(N)]


def test_irreducible_losses_in_any_order_stay_with_their_ids():
    order = ORDERS["shuffled"]
    columns = {"irreducible": torch.tensor([SCORES[i] for i in order])}
    policy = sw.recipes.rho_loss(table(order, columns=columns, provenance={"n": N, "fit": "cross"}))
    losses = policy.tracker.losses
    assert losses.ids.tolist() == list(range(N))
    assert losses.values.tolist() == [SCORES[i] for i in range(N)]


def test_an_id_that_comes_twice_or_is_negative_or_is_missing_is_refused():
    twice = [*range(N - 1), 3]
    with pytest.raises(ValueError, match=r"ScoreTable\.ids must hold each id once, but id 3 is repeated"):
        table(twice)
    with pytest.raises(ValueError, match=r"Subset\.ids must hold each id once, but id 4 is repeated"):
        sw.Subset([4, 1, 4])
    with pytest.raises(ValueError, match=r"Subset\.ids must be >= 0, got -2"):
        sw.Subset([4, -2])
    for rows in (ORDERS["sorted"][: N - 3], ORDERS["sorted"][1:], ORDERS["turned"][:-3]):
        with pytest.raises(
            ValueError, match=f"every id from 0 to {N - 1} and no other, got {len(rows)} rows"
        ):
            table(rows).subset("el2n")


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"columns\['el2n'\] must have one row for each of the 12 ids, got"):
        table(ORDERS["sorted"], columns={"el2n": torch.zeros(N - 1)})
    with pytest.raises(ValueError, match=r"Subset\.weights must have one row for each of the 2 ids, got .*3"):
        sw.Subset([1, 2], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "given",
    [
        [7, 2, 5],
        (7, 2, 5),
        np.array([7, 2, 5]),
        np.array([7, 2, 5], dtype=np.int16),
        np.array([7, 2, 5], dtype=np.uint64),
        torch.tensor([7, 2, 5], dtype=torch.uint8),
        torch.tensor([7, 2, 5]).to(torch.uint32),
        pd.Series([7, 2, 5], index=[2, 1, 0]),
        pd.Series([7, 2, 5], index=[100, 101, 102], dtype="Int64"),
        [torch.tensor(7), 2, np.int32(5)],
    ],
    ids=lambda given: f"{type(given).__name__}-{getattr(given, 'dtype', '')}",
)
def test_ids_may_be_any_whole_numbers(given):
    subset = sw.Subset(given, [1, 2, 3])
    assert subset.ids.dtype == torch.int64
    assert subset.ids.tolist() == [2, 5, 7]
    assert subset.weights.tolist() == [2.0, 3.0, 1.0]


@pytest.mark.parametrize(
    "given",
    [
        [0.5, 1.5],
        np.array([1.0, 2.0]),
        ["a", "b"],
        [True, False],
        torch.tensor([True]),
        [[1], [2]],
        3,
        None,
        [1, None],
        [[1], [2, 3]],
        torch.zeros(2),
        np.array([1, 1 << 63], dtype=np.uint64),
        [1, 1 << 70],
    ],
    ids=str,
)
def test_what_is_no_list_of_whole_numbers_is_no_list_of_ids(given):
    with pytest.raises(ValueError, match=r"Subset\.ids must be a 1-D column of integers, got"):
        sw.Subset(given)


def test_a_mask_is_told_how_to_become_ids():
    with pytest.raises(ValueError, match=r"use mask\.nonzero\(\)\.flatten\(\)"):
        sw.Subset(torch.tensor([True, False]))


def test_rows_that_ascend_are_not_copied():
    ids, column = torch.arange(9), torch.rand(9)
    same, rows = by_id("Subset", ids, {"weights": column})
    assert same.data_ptr() == ids.data_ptr()
    assert rows["weights"] is column


def test_order_is_seen_where_one_piece_of_a_long_list_ends(monkeypatch):
    monkeypatch.setattr("samplewise.data.byid._AT_ONCE", 4)
    for wrong in range(1, 11):
        ids = torch.arange(11)
        ids[[wrong - 1, wrong]] = ids[[wrong, wrong - 1]]
        assert by_id("Subset", ids, {})[0].tolist() == list(range(11)), wrong
    assert whole_numbers([]).tolist() == []


WEIGHTS = [
    [2, 1, 3],
    np.array([2, 1, 3]),
    torch.tensor([2, 1, 3]),
    torch.tensor([2, 1, 3], dtype=torch.int8),
    np.array([2.0, 1.0, 3.0]),
    torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64),
    torch.tensor([2.0, 1.0, 3.0], dtype=torch.bfloat16),
    pd.Series([2, 1, 3], index=[5, 6, 7]),
]


@pytest.mark.parametrize(
    "weights", WEIGHTS, ids=lambda given: f"{type(given).__name__}-{getattr(given, 'dtype', '')}"
)
def test_weights_of_any_kind_of_numbers_train(weights):
    subset = sw.Subset([0, 2, 3], weights)
    assert subset.weights.dtype == torch.float32
    selector = sw.Selector(sw.recipes.fixed(subset), 4, epochs=1, batch_size=3)
    selector.plan(0)
    assert selector.choose(torch.tensor([3, 0, 2]))[1].tolist() == [3.0, 2.0, 1.0]


@pytest.mark.parametrize("dtype", ["int64", "float64", "float32", "uint16"])
def test_weights_of_any_kind_of_numbers_in_a_file_train(tmp_path, dtype):
    frame = pd.DataFrame({"id": [3, 0, 2], "weight": np.array([3, 2, 1]).astype(dtype)})
    frame.to_parquet(tmp_path / "s.parquet")
    selector = sw.Selector(sw.recipes.fixed(tmp_path / "s.parquet"), 4, epochs=1, batch_size=3)
    selector.plan(0)
    assert selector.choose(torch.tensor([0, 2, 3]))[1].tolist() == [2.0, 1.0, 3.0]


@pytest.mark.parametrize("weights", [[1, 0], [1.0, float("nan")], [float("inf"), 1], [-1, 2], [1, 1e300]])
def test_weights_that_make_no_sense_are_refused(weights):
    with pytest.raises(ValueError, match=r"Subset\.weights must be finite and above 0, got"):
        sw.Subset([1, 2], weights)
    with pytest.raises(ValueError, match=r"Subset\.weights must be a 1-D column of numbers, one for each id"):
        sw.Subset([1, 2], ["a", "b"])


NO_NUMBERS = {
    "two axes": [[1.0], [2.0]],
    "complex": torch.tensor([1 + 1j, 2]),
    "complex array": np.array([1 + 1j, 2]),
    "sparse": torch.tensor([1.0, 2.0]).to_sparse(),
    "masked": np.ma.array([1.0, 2.0], mask=[False, True]),
    "text": ["a", "b"],
}


@pytest.mark.parametrize("given", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_number_a_row_is_refused_as_weights_and_as_a_score_column(given):
    with pytest.raises(ValueError, match=r"Subset\.weights must be a 1-D column of numbers"):
        sw.Subset([5, 2], given)
    with pytest.raises(ValueError, match=r"ScoreTable\.columns\['el2n'\] must be a 1-D column of numbers"):
        ScoreTable([0, 1], {"el2n": given}, [1, 1])


def test_ids_under_a_mask_are_refused():
    with pytest.raises(ValueError, match=r"Subset\.ids must be a 1-D column of integers"):
        sw.Subset(np.ma.array([1, 2], mask=[False, True]))


@pytest.mark.parametrize(
    "kind",
    [list, np.asarray, pd.Series, torch.bfloat16, torch.float16, torch.float64, torch.uint16, torch.int8],
)
def test_score_columns_of_any_kind_of_numbers_choose_and_are_written_alike(kind, tmp_path):
    order, scores = ORDERS["shuffled"], torch.tensor([SCORES[i] for i in ORDERS["shuffled"]])
    given = scores.to(kind) if isinstance(kind, torch.dtype) else kind(scores.tolist())
    found = table(order, columns={"el2n": given})
    assert found.subset("el2n") == table(order).subset("el2n")
    found.to_parquet(tmp_path / "s.parquet")
    assert ScoreTable.read(tmp_path / "s.parquet")["el2n"].tolist() == [SCORES[i] for i in range(N)]


class Whole(sw.pickers.Picker):
    """Keeps all, with whole-number weights."""

    def __init__(self, weights):
        self.given = weights

    def size(self, m, least=0):
        return m, False

    def pick(self, pool):
        return sw.pickers.Picked(torch.arange(pool.m), self.given[: pool.m])


@pytest.mark.parametrize("level", ["picker", "batch_picker"])
def test_whole_number_weights_of_an_own_picker_train(level):
    picker = Whole(torch.tensor([2, 1, 3, 4]))
    selector = sw.Selector(sw.Policy(**{level: picker}), 4, epochs=1, batch_size=4)
    selector.plan(0)
    _, weights = selector.choose(torch.arange(4))
    assert weights.dtype == torch.float32
    assert weights.tolist() == [2.0, 1.0, 3.0, 4.0]
