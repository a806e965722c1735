"""Score tables and subsets: to Parquet and back, joined, and damaged."""

import sys

import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

import samplewise as sw
from samplewise.coresets.table import ScoreTable, Subset
from samplewise.files.columns import read_columns, write_columns
from samplewise.rng import generator

nan, inf = float("nan"), float("inf")


def table(fingerprint="f", scale=1.0, labels=True):
    return ScoreTable(
        ids=torch.arange(4),
        columns={
            "mean": scale * torch.tensor([0.5, nan, 1e-30, 3.0]),
            "correct": torch.tensor([True, False, True, True]),
            "count": torch.tensor([1, 0, 2, 3], dtype=torch.int32),
        },
        times_selected=torch.tensor([1, 0, 2, 2], dtype=torch.int32),
        labels=torch.tensor([3, 1, 0, 2]) if labels else None,
        provenance={"recipe": "mine", "fingerprint": fingerprint, "n": 4},
    )


def same(one, other):
    return one.dtype == other.dtype and torch.equal(one.nan_to_num(-7), other.nan_to_num(-7))


@pytest.mark.parametrize("labels", [True, False])
def test_a_table_comes_back_bit_for_bit(tmp_path, labels):
    written, path = table(labels=labels), tmp_path / "scores.parquet"
    written.to_parquet(path)
    read = ScoreTable.read(str(path))
    assert same(read.ids, written.ids)
    assert list(read.columns) == list(written.columns)
    assert all(same(read[name], written[name]) for name in written.columns)
    assert same(read.times_selected, written.times_selected)
    assert (read.labels is None) if not labels else same(read.labels, written.labels)
    assert read.provenance == written.provenance
    assert len(read) == 4


def test_pandas_reads_a_table(tmp_path):
    table().to_parquet(tmp_path / "scores.parquet")
    frame = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(frame) == ["id", "label", "mean", "correct", "count", "times_selected"]
    assert frame["label"].tolist() == [3, 1, 0, 2]
    assert frame["mean"].isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize("weights", [None, torch.tensor([2.0, 1.0, 2.0])])
def test_a_subset_comes_back(tmp_path, weights):
    subset, path = Subset(torch.tensor([1, 5, 9]), weights, {"recipe": "mine"}), tmp_path / "subset.parquet"
    subset.to_parquet(path)
    read = Subset.read(path)
    assert torch.equal(read.ids, subset.ids)
    assert (read.weights is None) if weights is None else torch.equal(read.weights, weights)
    assert (read.provenance, len(read)) == ({"recipe": "mine"}, 3)
    assert pd.read_parquet(path)["id"].tolist() == [1, 5, 9]


def test_the_table_of_a_real_run_round_trips(tmp_path):
    selector = sw.Selector("infobatch", 6, epochs=2, labels=[0, 1, 2, 0, 1, 2])
    selector.plan(0)
    selector.observe(torch.arange(5), torch.tensor([0.1, 0.2, 3.0, 4.0, 5.0]))
    written = selector.table()
    written.to_parquet(tmp_path / "t.parquet")
    read = ScoreTable.read(tmp_path / "t.parquet")
    assert same(read["loss"], written["loss"])
    assert read["loss"].isnan().tolist() == [False] * 5 + [True]
    assert read.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert read.times_selected.tolist() == [1] * 6
    assert read.provenance["policy"] == "recipes.infobatch(keep=0.5, until=0.875, exact=True)"
    assert read.provenance["versions"].keys() == {"samplewise", "torch", "python"}


def test_a_column_is_asked_for_by_name():
    with pytest.raises(
        ValueError, match=r"no score column 'maen'\. Did you mean 'mean'\? Columns: mean, correct"
    ):
        table()["maen"]


def test_combining_averages_or_sums_the_scores_and_sums_the_selections():
    tables = [table(scale=1.0), table(scale=3.0)]
    mean = ScoreTable.combine(tables)
    assert mean["mean"].tolist() == pytest.approx([1.0, nan, 2e-30, 6.0], nan_ok=True)
    assert ScoreTable.combine(tables, how="sum")["mean"][3].item() == 12.0
    assert mean.times_selected.tolist() == [2, 0, 4, 4]
    assert mean.labels.tolist() == [3, 1, 0, 2]
    assert len(mean.provenance["runs"]) == 2
    assert mean.provenance["fingerprint"] == "f"


def test_the_spread_and_the_upper_bound_over_runs_are_their_formulas():
    runs = [
        [0.5, 2.0, 1e-30, nan, inf, 4.0],
        [1.5, 2.0, 3e-30, 1.0, inf, inf],
        [4.0, 2.0, 0.0, 2.0, inf, 1.0],
    ]
    tables = [ScoreTable(range(6), {"s": torch.tensor(run)}, [1] * 6, provenance={"n": 6}) for run in runs]
    spread, bound = [], []
    for values in zip(*runs, strict=True):
        center = sum(values) / 3
        spread.append((sum((v - center) ** 2 for v in values) / 2) ** 0.5)
        mean, variance = values[0], 0.0
        for v in values[1:]:  # the variance first, with the mean before
            variance = 0.2 * variance + 0.8 * (v - mean) ** 2
            mean = 0.2 * mean + 0.8 * v
        bound.append(mean + variance)
    spread[4:], bound[4:] = [0.0, inf], [inf, inf]
    for how, expected in (("spread", spread), ("ucb", bound)):
        found = ScoreTable.combine(tables, how=how)
        assert found["s"].tolist() == pytest.approx(expected, nan_ok=True)
        assert found.provenance["combined"] == how
        assert found.times_selected.tolist() == [3] * 6
        with pytest.raises(ValueError, match=rf"combine\(how='{how}'\) needs at least two tables, got one"):
            ScoreTable.combine(tables[:1], how=how)


def test_no_coreset_is_chosen_by_a_spread():
    tables = [
        ScoreTable(range(4), {"el2n": torch.tensor([0.1, 0.2, 0.3, run])}, [1] * 4, provenance={"n": 4})
        for run in (0.0, 0.5)
    ]
    assert ScoreTable.combine(tables, how="ucb").subset("el2n", keep=0.5).ids.tolist() == [2, 3]
    with pytest.raises(ValueError, match="the spread of the scores over several runs, which is no score"):
        ScoreTable.combine(tables, how="spread").subset("el2n", keep=0.5)


def test_combining_refuses_what_does_not_belong_together():
    one = table()
    fewer = ScoreTable(one.ids[:3], {n: c[:3] for n, c in one.columns.items()}, one.times_selected[:3])
    renamed = ScoreTable(one.ids, {"other": one["mean"]}, one.times_selected, None, one.provenance)
    for other in (table(fingerprint="g"), fewer, renamed):
        with pytest.raises(
            ValueError, match="combine needs tables of the same data set with the same columns"
        ):
            ScoreTable.combine([one, other])
    with pytest.raises(ValueError, match="combine needs at least one table"):
        ScoreTable.combine([])


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    good = tmp_path / "good.parquet"
    table().to_parquet(good)
    whole = good.read_bytes()
    middle = len(whole) // 3
    damages = {
        "text.parquet": b"this is no parquet file at all",
        "empty.parquet": b"",
        "cut.parquet": whole[: len(whole) // 2],
        "scrambled.parquet": b"PAR1" + b"\xff" * (len(whole) - 100) + whole[-96:],
        "footer.parquet": whole[:-300] + b"\x00" * 200 + whole[-100:],
        "page.parquet": whole[:4] + b"\xff" * middle + whole[4 + middle :],
    }
    for name, content in damages.items():
        (tmp_path / name).write_bytes(content)
        for kind in (ScoreTable, Subset):
            with pytest.raises(
                ValueError, match=rf"{name} (is not a readable Parquet file|must have a column)"
            ):
                kind.read(tmp_path / name)


def test_a_flipped_byte_never_changes_a_score_in_silence(tmp_path):
    written, path = table(), tmp_path / "t.parquet"
    written.to_parquet(path)
    whole, refused = path.read_bytes(), 0
    footer = 8 + int.from_bytes(whole[-8:-4], "little")
    for at in range(4, len(whole) - footer, 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read = ScoreTable.read(path)
        except ValueError:
            refused += 1
        else:
            assert same(read.ids, written.ids), at
            assert all(same(read.columns[name], column) for name, column in written.columns.items()), at
    assert refused > 20


def test_a_parquet_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.parquet"
    parquet.write_table(pa.table({"text": ["a", "b"]}), path)
    with pytest.raises(ValueError, match=r"other.parquet must have a column 'id', but has only \['text'\]"):
        ScoreTable.read(path)
    parquet.write_table(pa.table({"id": [0, 1], "weight": [1.0, 1.0], "text": ["a", "b"]}), path)
    with pytest.raises(ValueError, match=r"other.parquet: column 'text' must hold numbers, got string"):
        Subset.read(path)
    parquet.write_table(pa.table({"id": [0, None], "weight": [1.0, 1.0]}), path)
    with pytest.raises(
        ValueError, match=r"other.parquet: column 'id' must hold a number in every row, but 1 rows are null"
    ):
        Subset.read(path)


def test_a_file_that_is_not_there_is_a_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ScoreTable.read(tmp_path / "nowhere.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pyarrow is not installed.*pip install 'samplewise\[scores\]'"):
        table().to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(ImportError, match=r"pip install 'samplewise\[scores\]'"):
        Subset.read(tmp_path / "scores.parquet")


def _mixed(n):
    rng = generator("columns of a file", n)
    kinds = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
    whole = {str(kind): torch.randint(0, 100, (n,), generator=rng).to(kind) for kind in kinds}
    ends = torch.tensor([2**63 - 1, -(2**63), 0, -1])
    floats = torch.randn(n, generator=rng)
    floats[::7] = float("nan")
    far = ends.repeat(n // 4 + 1)[:n]
    return {"id": torch.arange(n), **whole, "far": far, "truth": floats > 0, "loss": floats} | {
        "double": floats.double() / 3,
        "negative zero": torch.tensor(-0.0).expand(n),
    }


@pytest.mark.parametrize("n", [1, 4, 5000])
def test_columns_of_a_file_are_read_back_to_the_last_bit(n, tmp_path):
    columns = _mixed(n)
    write_columns(tmp_path / "new.parquet", columns, {"n": n})
    old = pa.table({name: column.numpy() for name, column in columns.items()})
    parquet.write_table(old, tmp_path / "old.parquet")  # with dictionaries, as files of 0.1.0
    for file, note in (("new", {"n": n}), ("old", {})):
        found, provenance = read_columns(tmp_path / f"{file}.parquet", ("id",))
        assert provenance == note
        assert found.keys() == columns.keys()
        for name, column in columns.items():
            assert found[name].dtype == column.dtype
            assert found[name].numpy().tobytes() == column.numpy().tobytes()


def test_ids_take_almost_no_space_in_a_file_and_a_score_takes_its_four_bytes(tmp_path):
    n = 100_000
    scores = torch.randn(n, generator=generator("bytes of a file"))
    write_columns(tmp_path / "ids.parquet", {"id": torch.arange(n)}, {})
    write_columns(tmp_path / "scores.parquet", {"id": torch.arange(n), "score": scores}, {})
    assert (tmp_path / "ids.parquet").stat().st_size < 0.2 * n
    assert 4 * n < (tmp_path / "scores.parquet").stat().st_size < 4.3 * n
