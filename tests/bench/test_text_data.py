"""Texts with labels: which columns are read, what the labels are, and what is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from samplewise.bench.settings import Settings
from samplewise.bench.text.data import held_out, load
from samplewise.bench.text.metrics import results
from tests.bench import texts


def read(path, **given):
    return load(Settings.made(model="hf:x", data=str(path), device="cpu", method=("full",), **given))


def test_a_file_is_read_with_the_split_beside_it(tmp_path):
    data = read(texts.write(tmp_path))
    assert (len(data), len(data.test_y), data.classes, data.test_split) == (40, 20, 2, "dev")
    assert data.train_x.shape == (40, 1)
    assert [
        (text, y) for (text,), y in zip(data.train_x, data.train_y.tolist(), strict=True)
    ] == texts.sentences(40)


def test_numbers_make_a_regression_and_whole_numbers_from_0_classes(tmp_path):
    data = read(texts.pairs(tmp_path))
    assert (data.classes, data.train_y.dtype, data.train_x.shape) == (0, torch.float32, (40, 2))
    as_floats = texts.write(
        tmp_path, "floats", sentence=lambda h: h["sentence"], label=lambda h: [float(y) for y in h["label"]]
    )
    assert (read(as_floats).classes, read(as_floats).train_y.dtype) == (2, torch.int64)
    assert read(as_floats, targets="numbers").classes == 0
    named = texts.write(
        tmp_path, "named", text=lambda h: h["sentence"], label=lambda h: [f"c{y}" for y in h["label"]]
    )
    assert read(named).class_names == ("c0", "c1")


def test_an_empty_second_column_makes_no_pairs(tmp_path):
    path = texts.write(
        tmp_path,
        text_a=lambda h: h["sentence"],
        text_b=lambda h: [""] * len(h["label"]),
        label=lambda h: h["label"],
    )
    assert read(path).train_x.shape[1] == 1


def test_columns_can_be_named(tmp_path):
    path = texts.write(
        tmp_path, one=lambda h: h["sentence"], two=lambda h: h["sentence"], answer=lambda h: h["label"]
    )
    assert read(path, text_column=("two", "one"), label_column="answer").train_x.shape == (40, 2)
    assert read(path, text_column="one", label_column="answer").train_x.shape == (40, 1)


def test_a_limit_and_a_validation_split_are_the_same_in_every_run(tmp_path):
    for path in (texts.write(tmp_path), texts.pairs(tmp_path)):
        first, again = (held_out(read(path, limit=30), 0.2) for _ in range(2))
        assert (len(first), len(first.validation_y)) == (24, 6)
        assert (first.train_x == again.train_x).all()
        held = {tuple(row) for row in first.validation_x}
        assert len(held) + len({tuple(row) for row in first.train_x} - held) >= 6


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"n": [1, 2], "label": [0, 1]}, r"has no text column beside the labels\. Its columns are n, label"),
        ({"a": ["x", "y"], "b": ["x", "y"], "label": [0, 1]}, "2 columns that could be the text: a, b"),
        ({"text": ["x", "y"]}, r"has no label column \(a ClassLabel, or a column named label"),
        ({"text": ["x", "y"], "label": [-1, -1]}, "all are missing, null or -1"),
        ({"text": ["x", "y"], "label": [0, None]}, r"1 rows have none \(first: row 1\)"),
        ({"text": ["x", "y"], "label": [0.5, float("nan")]}, r"must be finite numbers.*row 1, nan"),
        ({"text": ["x", "y"], "label": [0.5, 0.5]}, "train labels must differ, got 0.5 in every row"),
        (
            {"text": ["x", " "], "label": [0, 1]},
            r"1 rows have an empty 'text' \(first: row 1\)\. Leave out these rows\.$",
        ),
        ({"text": ["x", None], "label": [0, 1]}, "empty 'text'"),
        (
            {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())},
            "must have at least one row, but has none",
        ),
        (
            {"text_a": ["x", "y"], "text_b": ["x", ""], "label": [0, 1]},
            r"empty 'text_b' \(first: row 1\)\. Leave out these rows, or name one column with --text-col",
        ),
        ({"text": ["x", "y"], "label": [1, 2]}, r"train labels must be 0 to C-1.*Subtract 1\?"),
    ],
)
def test_bad_data_is_one_clear_line(tmp_path, columns, said):
    for word in ("train", "test"):
        pq.write_table(pa.table(columns), tmp_path / f"{word}.parquet")
    with pytest.raises(ValueError, match=said) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"text_column": ("sentence", "sentence")},
            "must name one column, or two for pairs, got sentence, sentence",
        ),
        (
            {"text_column": ("label",)},
            "--text-column must hold text and no labels, but 'label' holds the labels",
        ),
        (
            {"text_column": ("sentense",)},
            r"must be one of sentence, label, got 'sentense'\. Did you mean 'sentence'\?",
        ),
        ({"limit": 41}, r"limit must be in \[2, 40\]"),
        ({"data": "digits"}, "--model hf:x needs texts: --data must be a Parquet file"),
        ({"data": "lonely.parquet"}, "must be a Parquet file"),
    ],
)
def test_a_bad_setting_is_one_clear_line(tmp_path, given, said):
    path = texts.write(tmp_path)
    with pytest.raises(ValueError, match=said):
        read(**{"path": path} | {"path" if k == "data" else k: v for k, v in given.items()})


def test_a_file_without_its_other_split_says_so(tmp_path):
    path = texts.write(tmp_path)
    (tmp_path / "task-dev.parquet").unlink()
    with pytest.raises(ValueError, match="must have a test split"):
        read(path)
    with pytest.raises(ValueError, match="must have the training split in its name"):
        read(path.rename(tmp_path / "all.parquet"))


def test_changes_of_classes_need_classes(tmp_path):
    with pytest.raises(
        ValueError, match=r"--label-noise needs classes, but the labels of pairs-train are numbers"
    ):
        read(texts.pairs(tmp_path), label_noise=0.2)


def test_results_are_those_of_the_formulas():
    """Against the definitions, by hand: 6 predictions of 2 classes, and 4 numbers."""
    wanted, found = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 0])
    logits = torch.nn.functional.one_hot(found, 2) * 2.0
    got = results(logits, wanted, 2)
    tp, tn, fp, fn = 1, 3, 1, 1
    assert got["accuracy"] == pytest.approx(100 * 4 / 6)
    assert got["worst_class"] == pytest.approx(50.0)
    root = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert got["matthews"] == pytest.approx(100 * (tp * tn - fp * fn) / root)
    right, wrong = np.log(1 + np.exp(-2)), np.log(1 + np.exp(2))
    assert got["loss"] == pytest.approx((4 * right + 2 * wrong) / 6)
    x, y = np.array([1.0, 2.0, 4.0, 3.0]), np.array([0.0, 1.0, 2.0, 5.0])
    got = results(torch.tensor(x)[:, None].float(), torch.tensor(y), 0)
    cov = ((x - x.mean()) * (y - y.mean())).mean()
    assert got["pearson"] == pytest.approx(100 * cov / (x.std() * y.std()))
    ranks = np.array([0, 1, 3, 2]) - np.array([0, 1, 2, 3])
    assert got["spearman"] == pytest.approx(100 * (1 - 6 * (ranks**2).sum() / (4 * 15)))
    assert got["loss"] == pytest.approx(((x - y) ** 2).mean())
    assert results(torch.ones(4, 1), torch.tensor(y), 0)["pearson"] == 0.0
