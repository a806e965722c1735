"""What a picker says about its selections arrives in the ledger and in the table, once for each selection."""

from dataclasses import dataclass

import pytest
import torch

import samplewise as sw
from samplewise.pickers import Picked, Picker

EPOCHS = 6


@dataclass(frozen=True)
class Halves(Picker):
    """Takes the first half, and tells how many there were."""

    def size(self, m, least=0):
        return m // 2, True

    def pick(self, pool):
        return Picked(torch.arange(pool.m // 2), notes={"rows": float(pool.m // 2), "draw": self.drawn(pool)})

    def drawn(self, pool):
        return float(torch.rand((), generator=pool.rng))


def made(every=1):
    losses = torch.linspace(0.1, 1, 12)
    policy = sw.Policy(picker=Halves(), every=every)
    return sw.Selector(policy, list(range(12)), lambda i: losses[i], epochs=EPOCHS, batch_size=3)


def train(selector, stop=None):
    for _ in range(selector.epoch, EPOCHS):
        for number, batch in enumerate(selector.loader()):
            selector.loss(batch)
            if (selector.epoch, number) == stop:
                return selector
    return selector


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2, 3, 4, 5]), (4, [0, 4])])
def test_each_selection_is_told_once(every, epochs):
    selector = train(made(every))
    ledger = selector.ledger
    assert [notes["epoch"] for notes in ledger.selections] == epochs
    assert all(notes["rows"] == 6 for notes in ledger.selections)
    assert len({notes["draw"] for notes in ledger.selections}) == len(epochs)
    assert selector.table().provenance["selections"] == ledger.selections
    assert ledger.as_dict()["last_draw"] == ledger.selections[-1]["draw"]
    assert "last_epoch" not in ledger.as_dict()
    assert any(line.split() == ["mean", "rows", "6.000"] for line in str(ledger).splitlines())


@pytest.mark.parametrize("stop", [(2, 0), (2, 1), (5, 1)])
@pytest.mark.parametrize("every", [1, 4])
def test_a_resumed_training_tells_the_same(every, stop):
    whole, cut, resumed = train(made(every)), train(made(every), stop), made(every)
    resumed.load_state_dict(cut.state_dict())
    assert resumed.ledger.selections == cut.ledger.selections
    train(resumed)
    assert resumed.ledger.selections == whole.ledger.selections
    assert cut.ledger.selections == whole.ledger.selections[: len(cut.ledger.selections)]  # its own list


def test_the_file_of_a_table_has_them(tmp_path):
    table = train(made()).table()
    table.to_parquet(tmp_path / "scores.parquet")
    read = sw.ScoreTable.read(tmp_path / "scores.parquet")
    assert read.provenance["selections"] == table.provenance["selections"]


def test_a_method_that_tells_nothing_has_none():
    selector = sw.Selector("full", 4, epochs=2)
    selector.plan(0)
    assert selector.ledger.selections == []
    assert "selections" not in selector.table().provenance
    assert "mean" not in str(selector.ledger)


def test_damaged_notes_of_a_state_are_refused():
    state = train(made(), (2, 0)).state_dict()
    state["ledger"]["selections"][1]["rows"] = "six"
    with pytest.raises(ValueError, match=r"\['ledger'\]\['selections'\]\[1\]\['rows'\] must be a number"):
        made().load_state_dict(state)
