"""How objects show themselves: short in a console, as a table in a notebook, as data for other tools."""

import pickle

import numpy as np
import pytest
import torch

import samplewise as sw
from samplewise.data.html import html_table


@pytest.fixture(scope="module")
def trained():
    data = torch.utils.data.TensorDataset(torch.arange(12.0)[:, None], torch.arange(12) % 3)
    selector = sw.Selector(
        sw.recipes.infobatch(keep=0.5), data, lambda batch: batch[0].squeeze(1), epochs=4, batch_size=4
    )
    loader = selector.loader()
    for _ in range(2):
        for batch in loader:
            selector.loss(batch)
    return selector


def test_a_selector_says_its_method_its_samples_and_where_it_is(trained):
    assert repr(trained) == f"Selector({trained.policy!r}, n=12, epoch 2 of 4)"
    assert repr(sw.Selector("full", 3, epochs=1)) == "Selector(recipes.full(), n=3, epoch 0 of 1)"
    assert "samples back-propagated" in trained._repr_html_()


def test_a_ledger_is_a_line_a_table_and_plain_numbers(trained):
    ledger = trained.ledger
    told = ledger.as_dict()
    assert told["samples_backpropagated"] == ledger.samples_backpropagated > 12
    assert told["promised"] == ledger.promised
    assert told["wall"] == pytest.approx(sum(told[f"seconds_{stage}"] for stage in ledger.seconds))
    assert all(isinstance(value, int | float | str | None) for value in told.values())
    assert f"saved by cost {ledger.promised:.1%}" in repr(ledger)
    assert ledger._repr_html_().count("<tr>") == len(str(ledger).splitlines())
    assert repr(sw.Selector("full", 3, epochs=1).ledger) == (
        "Ledger(saved by cost 0.0%, by wall clock not measured)"
    )


def test_a_table_goes_to_arrow_and_pandas_with_the_names_of_its_file(trained, tmp_path):
    import pyarrow.parquet

    table = trained.table()
    table.to_parquet(tmp_path / "scores.parquet")
    written = pyarrow.parquet.read_table(tmp_path / "scores.parquet")
    assert table.to_arrow().equals(written)
    assert table.to_arrow().schema.metadata == written.schema.metadata
    frame = table.to_pandas()
    assert list(frame) == written.column_names
    assert frame["id"].tolist() == list(range(12))
    assert frame["label"].tolist() == [i % 3 for i in range(12)]
    assert frame["loss"].tolist() == [float(i) for i in range(12)]
    assert repr(table) == "ScoreTable(12 samples: loss)"
    assert table._repr_html_().count("<tr>") == 11  # ten rows and the heads


def test_a_subset_shows_its_first_rows():
    subset = sw.Subset(range(30), [0.5] * 30)
    assert subset._repr_html_().count("<td>0.5</td>") == 10


def test_a_batch_says_its_first_ids_and_what_its_data_is():
    data = {"x": torch.zeros(7, 3), "y": [torch.zeros(7, dtype=torch.int64), np.zeros((7, 2))], "name": None}
    batch = sw.Batch(torch.arange(7) + 10, data)
    said = "{'x': float32(7, 3), 'y': [int64(7), float64(7, 2)], 'name': None}"
    assert repr(batch) == f"Batch(7 ids: 10, 11, 12, 13, 14, ...; data: {said})"
    assert "<td>{&#x27;x&#x27;: float32(7, 3)" in batch._repr_html_()
    assert repr(sw.Batch(torch.arange(2), list("ab" * 9))).endswith(
        "data: [str, str, str, str, str, str, ...])"
    )
    pair = sw.Batch(torch.arange(1), (sw.Outputs(loss=torch.ones(1)), sw.Batch(torch.arange(2), "text")))
    assert "(Outputs(loss=float32(1), logits=None, " in repr(pair)
    assert repr(pair).endswith(", Batch(int64(2), str)))")
    assert pickle.loads(pickle.dumps(batch)).ids.tolist() == batch.ids.tolist()


@pytest.mark.parametrize("made", sw.recipes.all().values(), ids=lambda made: made.name)
def test_a_policy_shows_its_parameters_and_its_parts_in_a_notebook(made):
    policy = made() if made.toy is None else made.toy(12)
    if isinstance(policy, sw.Policy):
        shown = policy._repr_html_()
        assert shown.startswith(f"<table><caption>{made.name}, the method</caption>")
        assert f"<tr><td>level</td><td>{policy.level}</td></tr>" in shown
        for name in policy.params:
            assert f"<tr><td>{name}</td>" in shown
        assert ("<td>picker</td>" in shown) == (policy.picker is not None)
        assert "<td>weighting</td>" not in shown or policy.weighting != "none"


def test_text_from_data_is_escaped():
    assert html_table([("<script>",)], heads=("a&b",)) == (
        "<table><tr><th>a&amp;b</th></tr><tr><td>&lt;script&gt;</td></tr></table>"
    )
