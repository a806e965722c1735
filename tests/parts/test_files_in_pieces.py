"""Tables that are written and read some rows at a time equal those of one piece, to the last bit."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

import samplewise as sw
from samplewise.coresets.table import ScoreTable
from samplewise.files import columns as files
from samplewise.rng import generator


def mixed(n):
    """Columns of several types, with NaN."""
    rng = generator("files in pieces", n)
    floats = torch.randn(n, generator=rng)
    floats[::3] = float("nan")
    counts = torch.randint(0, 9, (n,), generator=rng, dtype=torch.int32)
    return {"score": floats, "double": floats.double() / 3, "counts": counts, "truth": counts > 4}


@pytest.mark.parametrize("n", [1, 6, 7, 8, 20, 21])
def test_a_file_written_in_pieces_is_that_of_one_piece(n, tmp_path, monkeypatch):
    given = {"id": range(n)} | mixed(n)
    monkeypatch.setattr(files, "ROWS", 7)
    files.write_columns(tmp_path / "pieces.parquet", given, {"n": n})
    # pyarrow writes the same bytes from the whole table, in row groups of 7.
    table = pa.table({name: files.array_of(column) for name, column in given.items()})
    table = table.replace_schema_metadata({"samplewise": f'{{"n": {n}}}'})
    parquet.write_table(
        table, tmp_path / "whole.parquet", row_group_size=7, use_dictionary=False, write_page_checksum=True,
        column_encoding=dict.fromkeys(("id", "counts"), "DELTA_BINARY_PACKED"),
    )  # fmt: skip
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert parquet.ParquetFile(tmp_path / "pieces.parquet").num_row_groups == -(-n // 7)


@pytest.mark.parametrize("group", [3, 7, 100])
def test_a_file_read_in_pieces_is_that_of_one_piece(group, tmp_path, monkeypatch):
    given = {"id": torch.arange(20)} | mixed(20)
    parquet.write_table(
        pa.table({name: column.numpy() for name, column in given.items()}), tmp_path / "a.parquet",
        row_group_size=group,
    )  # fmt: skip
    monkeypatch.setattr(files, "ROWS", 56)
    found, _ = files.read_columns(tmp_path / "a.parquet", ("id",))
    assert list(found) == list(given)
    for name, column in given.items():
        assert found[name].dtype == column.dtype
        assert found[name].numpy().tobytes() == column.numpy().tobytes()
    assert files.read_columns(tmp_path / "a.parquet", ("id",), ids="id")[0]["id"] == range(20)


@pytest.mark.parametrize("ids", [[*range(19), 20], [1, *range(1, 20)], [*range(9), 19, *range(10, 19), 9]])
def test_ids_that_do_not_count_are_read_as_they_are(ids, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROWS", 7)
    files.write_columns(tmp_path / "a.parquet", {"id": torch.tensor(ids)}, {})
    assert files.read_columns(tmp_path / "a.parquet", ("id",), ids="id")[0]["id"].tolist() == ids


def test_nulls_of_all_pieces_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROWS", 16)
    parquet.write_table(pa.table({"id": range(6), "a": [1.0, None, 2.0, None, None, 3.0]}), tmp_path / "a")
    with pytest.raises(ValueError, match="column 'a' must hold a number in every row, but 3 rows are null"):
        files.read_columns(tmp_path / "a", ("id",))


def test_the_ids_of_a_table_of_all_samples_are_made_when_they_are_read(tmp_path):
    selector = sw.Selector("infobatch", 5, epochs=3)
    selector.plan(0)
    selector.observe(torch.arange(5), torch.rand(5))
    table = selector.table()
    assert "ids" not in vars(table)
    table.to_parquet(tmp_path / "a.parquet")
    read = ScoreTable.read(tmp_path / "a.parquet")
    assert "ids" not in vars(table)
    assert "ids" not in vars(read)
    assert len(read) == len(table) == 5
    assert read.ids.tolist() == table.ids.tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(read["loss"], table["loss"])
    assert torch.equal(read.times_selected, table.times_selected)
    with pytest.raises(ValueError, match="must have one row for each of the 4 ids"):
        ScoreTable(range(4), {"a": [1, 2, 3]}, [0] * 4)
    with pytest.raises(AttributeError, match="no attribute 'idz'"):
        _ = table.idz


PEAKS = """
import gc, json, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from large import fed, resident
from samplewise.coresets.table import ScoreTable

torch.set_num_threads(1)


def beyond(work, held=0):
    "The result, and the peak in bytes a sample beyond what was held before and the result holds."
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    result = work()
    return result, (resident("VmHWM") - before) / n - held


def all_of(n):
    selector = fed("infobatch", n, True)
    selector.plan(1)
    state, saving = beyond(selector.state_dict, 8 + 1 / 4)  # scores, counts, two bits
    _, loading = beyond(lambda: selector.load_state_dict(state))
    del state
    table, making = beyond(selector.table, 8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.parquet")
        _, writing = beyond(lambda: table.to_parquet(path))
        del table
        _, reading = beyond(lambda: ScoreTable.read(path), 8)
    return {"save": saving, "load": loading, "table": making, "write": writing, "read": reading}


n = 1 << 21
all_of(n)  # what is imported and allocated once: two row groups
n = 1 << 23
print(json.dumps(all_of(n)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_states_and_files_of_many_samples_take_few_bytes_beyond_what_they_hold():
    """At the peak, beyond the selector, the state, the table and what is returned: bytes a sample."""
    command = [sys.executable, "-c", PEAKS, str(Path(__file__).parents[2] / "benchmarks")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peaks = json.loads(done.stdout)
    assert len(peaks) == 5
    # A part of a file takes some 30 MB at any size, here 4 bytes a sample. A copied column would take 4 more.
    assert all(peak < 6 for peak in peaks.values()), peaks
