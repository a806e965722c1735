"""Tables and subsets whose file says what cannot be meant: one clear error that names the file."""

import json
import subprocess
import sys
from importlib import metadata

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

import samplewise as sw
from samplewise.checks import Range
from samplewise.cli import main
from samplewise.coresets.parse import parse
from samplewise.coresets.table import ScoreTable
from samplewise.data.declared import Anything, Column, Fields, Is, Items, Maybe, Named, Number, OneOf
from samplewise.files.columns import read_columns
from samplewise.files.versions import versions

N = 8
NOTE = {"n": N, "seed": 3, "methods": {"el2n": "recipes.el2n(keep=0.5)"}, "epochs": 2}
COLUMNS = {
    "id": np.arange(N),
    "label": np.arange(N) % 2,
    "el2n": np.linspace(0, 1, N),
    "times_selected": np.ones(N, dtype=np.int32),
}
SUBSET = {"id": np.array([1, 5]), "weight": np.array([1.0, 2.0])}


def write(path, columns, note):
    """A file whose note is some JSON, or just any text."""
    written = note if isinstance(note, str | bytes) else json.dumps(note)
    table = pa.table(columns).replace_schema_metadata({"samplewise": written})
    parquet.write_table(table, path)
    return path


def line(capsys):
    """The one line of an error."""
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


DAMAGED = ["{broken", "", "null", "[1]", "3", '"text"', b"\xff\xfe", "[" * 100_000]


@pytest.mark.parametrize("note", DAMAGED, ids=lambda note: repr(note[:9]))
@pytest.mark.parametrize(("kind", "columns"), [(ScoreTable, COLUMNS), (sw.Subset, SUBSET)])
def test_a_damaged_note_names_its_file(tmp_path, kind, columns, note):
    path = write(tmp_path / "odd.parquet", columns, note)
    with pytest.raises(ValueError, match=r"odd\.parquet: the metadata 'samplewise' in the schema must be"):
        kind.read(path)


ODD_NOTES = {
    "methods is a list": ({"methods": ["el2n"]}, r"\['methods'\] must be a mapping, got \['el2n'\]"),
    "methods is null": ({"methods": None}, r"\['methods'\] must be a mapping, got None"),
    "a method is a number": ({"methods": {"el2n": 3}}, r"\['methods'\]\['el2n'\] must be text, got 3"),
    "scoring is a list": ({"scoring": [1]}, r"\['scoring'\] must be a mapping, got \[1\]"),
    "scoring is null": ({"scoring": None}, r"\['scoring'\] must be a mapping, got None"),
    "scoring is negative": (
        {"scoring": {"el2n": {"cost": -1, "seconds": 0}}},
        r"\['scoring'\]\['el2n'\]\['cost'\] must be a number >= 0, got -1",
    ),
    "scoring lacks seconds": (
        {"scoring": {"el2n": {"cost": 1}}},
        r"\['scoring'\]\['el2n'\]\['seconds'\] must be there, got nothing",
    ),
    "scoring is text": ({"scoring": {"el2n": "3"}}, r"\['scoring'\]\['el2n'\] must be a mapping, got '3'"),
    "n is text": ({"n": "8"}, r"\['n'\] must be a whole number >= 0, got '8'"),
    "seed is a float": ({"seed": 0.5}, r"\['seed'\] must be a whole number >= 0, got 0\.5"),
    "unfinished is text": ({"unfinished": "el2n"}, r"\['unfinished'\] must be a list, got 'el2n'"),
    "runs is a number": ({"runs": 2}, r"\['runs'\] must be a list, got 2"),
    "policy is null": ({"policy": None}, r"\['policy'\] must be text, got None"),
    "fingerprint is a list": ({"fingerprint": []}, r"\['fingerprint'\] must be text, got \[\]"),
}


@pytest.mark.parametrize(("change", "said"), ODD_NOTES.values(), ids=ODD_NOTES)
def test_a_table_whose_note_cannot_be_meant_is_refused_with_its_file(tmp_path, capsys, change, said):
    path = write(tmp_path / "odd.parquet", COLUMNS, NOTE | change)
    with pytest.raises(ValueError, match=rf"odd\.parquet: ScoreTable\.provenance{said}"):
        ScoreTable.read(path)
    out = str(tmp_path / "s.parquet")
    assert main(["select", str(path), "--method", "el2n", "--keep", "0.5", "-o", out]) == 2
    assert "odd.parquet: " in line(capsys)


WRITTEN = [
    "os.system('true')",
    "recipes.el2n(keep=0.3, keep=0.5)",
    "recipes.el2n(**{'keep': 0.5})",
    "recipes.el2n(keep=open('x'))",
    "recipes.el2n(keep={[]: 1})",
    "recipes.el2n(keep=[1])",
    "recipes.el2n(first='x')",
    "recipes.auto_assist()",
    "recipes.ucb()",
    "recipes.",
    "\0",
    "",
    "(" * 10_000,
    "recipes.el2n(keep=" + "-" * 50_000 + "1)",
]


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: repr(written[:30]))
def test_a_method_that_cannot_be_read_is_one_line_that_names_the_file(tmp_path, capsys, written):
    path = write(tmp_path / "odd.parquet", COLUMNS, NOTE | {"methods": {"el2n": written}})
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        ScoreTable.read(path).subset("el2n", keep=0.5)
    out = str(tmp_path / "s.parquet")
    assert main(["select", str(path), "--method", "el2n", "--keep", "0.5", "-o", out]) == 2
    error = line(capsys)
    assert "odd.parquet: " in error
    assert len(error) < 900  # one names every method


def test_a_table_that_is_read_first_of_all_knows_the_recipes(tmp_path):
    path = write(tmp_path / "t.parquet", COLUMNS, NOTE)
    program = (
        f"from samplewise import ScoreTable as T; print(T.read({str(path)!r}).subset('el2n').ids.tolist())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout.strip() == "[4, 5, 6, 7]", ran.stderr


def test_a_written_method_is_read_only_as_one_call_with_named_literals():
    assert repr(parse("recipes.el2n(keep=0.25)")).startswith("recipes.el2n(keep=0.25")
    with pytest.raises(ValueError, match=r"'recipes\.el2n\(0\.5\)' must be one call with named"):
        parse("recipes.el2n(0.5)")


ODD_COLUMNS = {
    "ids too large": (
        {"id": np.arange(N, dtype=np.uint64) + (1 << 63)},
        r"column 'id' must hold numbers below",
    ),
    "ids are floats": (
        {"id": np.arange(N) + 0.0},
        r"ScoreTable\.ids must be a 1-D column of integers.* torch\.float64",
    ),
    "an id twice": (
        {"id": np.array([0, 1, 2, 3, 4, 5, 6, 6])},
        "must hold each id once, but id 6 is repeated",
    ),
    "a negative id": ({"id": np.arange(N) - 1}, r"ScoreTable\.ids must be >= 0, got -1"),
    "labels are floats": (
        {"label": np.arange(N) / 2},
        r"labels must be 8 class numbers >= 0, got torch\.float64",
    ),
    "whole labels as floats": (
        {"label": np.arange(N) * 1.0},
        r"must be 8 class numbers >= 0, got torch\.float64",
    ),
    "negative labels": ({"label": np.arange(N) - 1}, r">= 0 and < 16777216, got -1 for sample 0 \(1 such"),
    "huge labels": ({"label": np.arange(N) * 10**12}, r"got 1000000000000 for sample 1 \(7 such samples\)"),
    "selections are floats": ({"times_selected": np.ones(N)}, "times_selected must be whole numbers"),
    "text": ({"el2n": np.array(list("abcdefgh"))}, "column 'el2n' must hold numbers, got string"),
}


@pytest.mark.parametrize(("change", "said"), ODD_COLUMNS.values(), ids=ODD_COLUMNS)
def test_a_table_whose_columns_cannot_be_meant_is_refused_with_its_file(tmp_path, capsys, change, said):
    path = write(tmp_path / "odd.parquet", COLUMNS | change, NOTE)
    with pytest.raises(ValueError, match=rf"odd\.parquet: .*{said}"):
        ScoreTable.read(path)
    out = str(tmp_path / "s.parquet")
    assert main(["select", str(path), "--method", "el2n", "--balance", "-o", out]) == 2
    assert "odd.parquet: " in line(capsys)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32"])
def test_whole_numbers_of_any_width_are_read_as_they_are(tmp_path, kind):
    narrow = {name: COLUMNS[name].astype(kind) for name in ("id", "label", "times_selected")}
    path = write(
        tmp_path / "narrow.parquet", COLUMNS | narrow | {"el2n": (COLUMNS["el2n"] * 7).astype(kind)}, NOTE
    )
    table = ScoreTable.read(path)
    assert table.ids.tolist() == list(range(N))
    assert table.labels.tolist() == [i % 2 for i in range(N)]
    assert table.subset("el2n", keep=0.25, balance=True).ids.tolist() == [6, 7]


def test_half_precision_scores_choose_as_single_precision(tmp_path):
    path = write(tmp_path / "half.parquet", COLUMNS | {"el2n": COLUMNS["el2n"].astype(np.float16)}, NOTE)
    assert ScoreTable.read(path).subset("el2n", keep=0.25).ids.tolist() == [6, 7]


ODD_SUBSETS = {
    "scoring is text": ({"scoring": "x"}, r"provenance\['scoring'\] must be a mapping, got 'x'"),
    "scoring is a list": ({"scoring": [1, 2]}, r"\['scoring'\] must be a mapping"),
    "scoring has no seconds": ({"scoring": {"cost": 1.0}}, r"\['scoring'\]\['seconds'\] must be there"),
    "scoring is text inside": (
        {"scoring": {"cost": "1", "seconds": 0}},
        r"\['cost'\] must be a number >= 0, got '1'",
    ),
    "scoring is endless": (
        {"scoring": {"cost": float("inf"), "seconds": 0}},
        r"\['cost'\] must be a number >= 0",
    ),
    "n is a list": ({"n": [1]}, r"\['n'\] must be a whole number >= 1, got \[1\]"),
    "keep is above 1": ({"keep": 3}, r"\['keep'\] must be a number in \(0, 1\], got 3"),
    "weighting is odd": (
        {"weighting": "batch"},
        "weighting must be one of 'per_sample', 'batch_mean', got 'batch'",
    ),
    "weighting is a list": ({"weighting": [1]}, "weighting must be one of 'per_sample', 'batch_mean', got"),
}


@pytest.mark.parametrize(("note", "said"), ODD_SUBSETS.values(), ids=ODD_SUBSETS)
def test_a_subset_whose_note_cannot_be_meant_is_refused_with_its_file(tmp_path, capsys, note, said):
    path = write(tmp_path / "odd.parquet", SUBSET, note)
    with pytest.raises(ValueError, match=rf"odd\.parquet: Subset\.{said}" if said[0] != "\\" else said):
        sw.recipes.fixed(path)
    run = ["train", "--method", "full", "--subset", str(path), "--limit", "20", "--out", str(tmp_path / "o")]
    assert main([*run, "--model", "mlp", "--device", "cpu", "--epochs", "1"]) == 2
    assert "odd.parquet: " in line(capsys)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": [1, 1], "weight": [1.0, 1.0]}, "must hold each id once"),
        ({"id": [1, 2], "weight": [0.0, 1.0]}, "must be finite and above 0, got 0"),
        (
            {"id": [1, 2], "weight": [1.0, 1.0], "selected": [False, False]},
            "must have at least one selected row",
        ),
        ({"id": np.array([], dtype=np.int64), "weight": np.array([])}, "has no rows"),
    ],
)
def test_a_subset_whose_rows_cannot_be_meant_is_refused_with_its_file(tmp_path, columns, said):
    path = write(tmp_path / "odd.parquet", columns, {})
    with pytest.raises(ValueError, match=rf"odd\.parquet.* {said}"):
        sw.Subset.read(path)


@pytest.mark.parametrize(
    ("change", "note", "said"),
    [
        ({}, {}, "must be a table with a column 'irreducible'"),
        ({"irreducible": np.full(N, np.inf)}, {}, "must be finite, or NaN"),
        (
            {"irreducible": np.array([np.nan, *range(1, N)])},
            {"fit": "cross"},
            "NaN for 1 samples, first id 0",
        ),
    ],
)
def test_irreducible_losses_that_cannot_be_meant_are_refused_with_their_file(tmp_path, change, note, said):
    path = write(tmp_path / "odd.parquet", COLUMNS | change, NOTE | note)
    with pytest.raises(ValueError, match=rf"odd\.parquet: .*{said}"):
        sw.recipes.rho_loss(path)


@pytest.mark.parametrize("rows", [slice(0, 5), slice(3, None), slice(0, N, 2)], ids=str)
def test_a_truncated_table_is_refused_by_n(tmp_path, capsys, rows):
    path = write(tmp_path / "cut.parquet", {name: column[rows] for name, column in COLUMNS.items()}, NOTE)
    kept = len(range(N)[rows])
    with pytest.raises(ValueError, match=rf"every id from 0 to 7 and no other, got {kept} rows"):
        ScoreTable.read(path).subset("el2n", keep=0.5)
    assert main(["select", str(path), "--method", "el2n", "-o", str(tmp_path / "s.parquet")]) == 2
    assert "cut.parquet: " in line(capsys)


def test_a_table_of_no_rows_two_columns_of_one_name_and_a_folder_are_refused(tmp_path):
    none = {name: column[:0] for name, column in COLUMNS.items()}
    with pytest.raises(ValueError, match=r"none\.parquet has no rows"):
        ScoreTable.read(write(tmp_path / "none.parquet", none, NOTE))
    names = [*COLUMNS, "el2n"]
    twice = pa.table([*COLUMNS.values(), COLUMNS["el2n"]], names=names)
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match=r"twice\.parquet is not a readable Parquet file"):
        ScoreTable.read(tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match="is not a file"):
        read_columns(tmp_path, ())


def test_a_file_without_a_note_is_read(tmp_path):
    pd.DataFrame(COLUMNS).to_parquet(tmp_path / "plain.parquet")
    assert ScoreTable.read(tmp_path / "plain.parquet").subset("el2n", keep=0.25).ids.tolist() == [6, 7]


def test_many_classes_are_not_all_printed(tmp_path, capsys):
    columns = {name: np.resize(column, 300) for name, column in COLUMNS.items()}
    columns |= {"id": np.arange(300), "label": np.arange(300) * 3, "el2n": np.arange(300.0)}
    path = write(tmp_path / "t.parquet", columns, NOTE | {"n": 300})
    assert main(["select", str(path), "--method", "el2n", "-o", str(tmp_path / "s.parquet")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "per class: 0: 0/1, 3: 0/1, " in told
    assert told.count("/1") == 100
    assert "and 200 more classes" in told


FORMS = [
    (Is(str), "a", 1),
    (Is(bool), True, 1),
    (Number(Range(0)), 0.5, -1),
    (Number(Range(0)), 1, True),
    (Number(Range(0), whole=True), 3, 3.0),
    (OneOf(("a", "b")), "b", "c"),
    (Maybe(Is(str)), None, 2),
    (Items(Is(str)), ["a"], ["a", 1]),
    (Items(Is(str)), (), "text"),
    (Named(Is(str)), {"a": "b"}, {"a": 1}),
    (Named(Anything()), {"a": 1}, [1]),
    (Fields({"a": Is(str)}), {"a": "b", "more": 1}, {}),
    (Fields({"a": Is(str)}, optional=True), {}, None),
]


@pytest.mark.parametrize(("form", "right", "wrong"), FORMS)
def test_a_form_takes_what_fits_and_names_what_does_not(form, right, wrong):
    assert list(form.misfits(right, "x")) == []
    ((path, must, got),) = form.misfits(wrong, "x")
    assert path.startswith("x")
    assert must.startswith("be ")
    assert got


def test_the_form_of_a_tensor():
    form = Column((torch.int64,), (3, None), low=0, high=5)
    assert list(form.misfits(torch.zeros(3, 2, dtype=torch.int64), "x")) == []
    told = {
        "be a tensor": [1, 2, 3],
        "hold int64": torch.zeros(3, 2),
        "have 3 rows": torch.zeros(4, 2, dtype=torch.int64),
        "have shape (3, any)": torch.zeros(3, dtype=torch.int64),
        "be >= 0": torch.full((3, 2), -1),
        "be <= 5": torch.full((3, 2), 6),
    }
    for must, wrong in told.items():
        assert [found[1] for found in form.misfits(wrong, "x")] == [must]
    nan = Column((torch.float32,), (2,), low=0)
    assert list(nan.misfits(torch.tensor([float("nan"), 1.0]), "x")) == []


def test_versions_need_no_metadata_of_any_package(monkeypatch, capsys):
    """A checkout on PYTHONPATH has none; tables and the command tell the version of the code."""

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    told = sw.Selector("full", 3, epochs=1).table().provenance["versions"]
    assert told["samplewise"] == versions()["samplewise"] == sw.__version__
    main(["--version"])
    assert capsys.readouterr().out.strip() == f"samplewise {sw.__version__}"
