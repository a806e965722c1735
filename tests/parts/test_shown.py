"""How objects show themselves: short in a console, as a table in a notebook, as data for other tools."""

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


def test_text_from_data_is_escaped():
    assert html_table([("<script>",)], heads=("a&b",)) == (
        "<table><tr><th>a&amp;b</th></tr><tr><td>&lt;script&gt;</td></tr></table>"
    )
