"""The history of selections: which samples each one took, kept, saved, resumed and written."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import samplewise as sw
from samplewise import recipes
from samplewise.bench.folder import RunFolder
from samplewise.cli import main
from samplewise.coresets.history import SelectionHistory
from samplewise.coresets.table import ScoreTable
from samplewise.report import pictures
from samplewise.rng import generator
from samplewise.subset import Subset

N = 70


def losses(epoch):
    """Other losses in every epoch."""
    return torch.rand(N, generator=generator(epoch, "losses"))


def trained(selector, first=0, last=None):
    """Train the engine alone; return the plans by epoch."""
    plans = {}
    for epoch in range(first, selector.epochs if last is None else last):
        if len(due := selector.pass_ids(epoch)):
            selector.observe(due, losses(epoch)[due], source="pass")
        plans[epoch] = ids = selector.plan(epoch).ids
        selector.observe(ids, losses(epoch)[ids])
    return plans


METHODS = {
    "every epoch": (recipes.infobatch(), range(6)),
    "periods": (recipes.ucb(keep=0.3, period=2), (0, 2, 4)),
    "without replacement": (recipes.rs2(keep=0.4), range(6)),
    "all": (recipes.full(), range(6)),
    "static": (recipes.el2n(first=2, keep=0.5), (2,)),
}


@pytest.mark.parametrize(("policy", "epochs"), METHODS.values(), ids=METHODS)
def test_it_holds_the_plan_of_every_selection(policy, epochs):
    selector = sw.Selector(policy, N, epochs=6, history=True)
    plans = {}
    for epoch in range(6):
        if len(due := selector.pass_ids(epoch)):
            selector.observe(due, losses(epoch)[due], source="pass")
        plans[epoch] = ids = selector.plan(epoch).ids
        logits = torch.stack([losses(epoch)[ids], 1 - losses(epoch)[ids]], 1)
        selector.observe(
            ids, sw.Outputs(losses(epoch)[ids], logits, torch.zeros(len(ids), dtype=torch.int64))
        )
    history = selector.table().history
    assert history.epochs == [*epochs]
    for selection, epoch in enumerate(epochs):
        assert history.ids(selection).tolist() == plans[epoch].tolist()
    assert torch.equal(history.times(), selector.table().times_selected.long())
    for sample in (0, 8, N - 1):
        assert history.of(sample) == [epoch for epoch in epochs if sample in plans[epoch].tolist()]


def test_without_the_option_there_is_none():
    selector = sw.Selector(recipes.rs2(), N, epochs=2)
    trained(selector)
    assert selector.table().history is None
    assert "history" not in selector.state_dict()["engine"]


@pytest.mark.parametrize("at", [1, 3])
def test_a_resumed_training_has_the_history_of_a_whole_one(at):
    whole, begun, resumed = (
        sw.Selector(recipes.random_dynamic(keep=0.5, period=2), N, epochs=6, history=True) for _ in range(3)
    )
    trained(whole)
    trained(begun, last=at)
    resumed.load_state_dict(begun.state_dict())
    trained(resumed, first=at)
    assert resumed.table().history == whole.table().history
    assert len(begun.table().history) == (at + 1) // 2


def test_a_state_without_history_or_with_a_damaged_one_is_refused():
    plain, keeping = (sw.Selector(recipes.rs2(), N, epochs=4, history=kept) for kept in (False, True))
    trained(plain, last=2)
    with pytest.raises(ValueError, match=r"no history of selections.*without history=True"):
        keeping.load_state_dict(plain.state_dict())
    trained(keeping, last=2)
    state = keeping.state_dict()
    plain.load_state_dict(state)  # a Selector that keeps none leaves it out
    state["engine"]["history"]["epochs"].append(7)
    with pytest.raises(ValueError, match="one epoch for each selection, got 3 epochs and 2 selections"):
        keeping.load_state_dict(state)
    state["engine"]["history"]["bits"] = torch.zeros(3, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="bits"):
        keeping.load_state_dict(state)


@pytest.mark.parametrize("method", ["evolved_sampling", "eswp", "random_batch", "auto_assist"])
def test_the_batch_level_is_refused_by_name(method):
    with pytest.raises(ValueError, match=f"{method} chooses in every batch"):
        sw.Selector(recipes.get(method)(), N, epochs=20, history=True)


def test_a_stream_is_refused():
    with pytest.raises(ValueError, match="runs on a stream without end"):
        sw.Selector(recipes.loss_sampling(), None, epochs=2, history=True)


@pytest.mark.parametrize("selections", [0, 1, 63, 64, 65, 130])
def test_a_file_gives_it_back_and_its_bits_are_those_of_the_plans(tmp_path, selections):
    history, taken = SelectionHistory(N), np.random.default_rng(selections).random((selections, N)) < 0.4
    for selection, row in enumerate(taken):
        history.add(3 * selection, torch.from_numpy(row.nonzero()[0]))
    table = ScoreTable(
        torch.arange(N), {"loss": losses(0)}, torch.zeros(N, dtype=torch.int32), history=history
    )
    table.to_parquet(tmp_path / "t.parquet")
    again = ScoreTable.read(tmp_path / "t.parquet")
    assert again.history == history
    assert [*again.columns] == ["loss"]
    assert "history" not in again.provenance
    frame = pq.read_table(tmp_path / "t.parquet").to_pandas()
    assert {name for name in frame if name.startswith("history_")} == {
        f"history_{i}" for i in range(-(-selections // 64))
    }
    for selection, row in enumerate(taken):
        word = frame[f"history_{selection // 64}"].to_numpy()
        assert ((word >> (selection % 64) & 1) == row).all()


def test_rows_in_another_order_keep_their_history(tmp_path):
    history = SelectionHistory(N)
    history.add(0, torch.tensor([1, 5, 69]))
    table = ScoreTable(torch.arange(N), {}, torch.zeros(N, dtype=torch.int32), history=history)
    shuffled = table.to_arrow().take(torch.randperm(N, generator=generator(1)).numpy())
    pq.write_table(shuffled, tmp_path / "t.parquet")
    assert ScoreTable.read(tmp_path / "t.parquet").history.ids(0).tolist() == [1, 5, 69]
    pq.write_table(shuffled.drop_columns(["history_0"]), tmp_path / "cut.parquet")
    with pytest.raises(ValueError, match="must have the int64 column 'history_0', but has none"):
        ScoreTable.read(tmp_path / "cut.parquet")
    with pytest.raises(ValueError, match="history is of 70 samples, so the table must have all of their ids"):
        ScoreTable(torch.arange(60), {}, torch.zeros(60, dtype=torch.int32), history=history)


def test_the_command_writes_it_and_refuses_the_batch_level(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    small = ["train", "--limit", "60", "--epochs", "4", "--batch-size", "32", "--seeds", "1", "--history"]
    small += ["--threads", "1", "--model", "mlp", "--device", "cpu", "--method", "full"]
    out = tmp_path / "one"
    ucb, el2n = "ucb:keep=0.5,period=2", "el2n:first=2,keep=0.5"
    assert main([*small, "--method", ucb, "--method", el2n, "--out", str(out)]) == 0
    found = {name: ScoreTable.read(RunFolder(out).scores(name, 0)).history for name in ("full", ucb, el2n)}
    assert {name: history.epochs for name, history in found.items()} == {
        "full": [0, 1, 2, 3],
        ucb: [0, 2],
        el2n: [0],
    }
    assert found[el2n].ids(0).tolist() == Subset.read(RunFolder(out).subset(el2n, 0)).ids.tolist()
    assert main([*small, "--method", "random_batch", "--out", str(tmp_path / "two")]) == 2
    assert "random_batch chooses in every batch" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()
    assert main([*small, "--controls", "--method", ucb, "--out", str(tmp_path / "two")]) == 2
    assert "--history needs tables of scores, but --controls writes none" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


def test_it_takes_a_bit_for_a_sample_and_a_selection():
    selector = sw.Selector(recipes.rs2(keep=0.5), 10_000, epochs=16, history=True)
    trained_bits = [selector.plan(epoch) for epoch in range(16)]
    assert len(trained_bits) == 16
    assert selector.state_dict()["engine"]["history"]["bits"].nbytes == 16 * 10_000 / 8
