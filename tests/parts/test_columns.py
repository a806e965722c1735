"""A tracker declares its columns once; what it starts with, saves, exchanges and drops follows."""

import re
from dataclasses import dataclass, replace

import pytest
import torch

import samplewise as sw
from samplewise import pickers, signals, trackers
from samplewise.policy import Policy
from samplewise.trackers import Column, Tracker
from tests.parts.test_subclasses import EXAMPLES

C, D, B = 5, 4, 3
LOSS = {"loss": torch.rand(B)}
FED = {
    "BestAccuracy": {"correct": torch.ones(B, dtype=torch.bool)},
    "ClassDistance": {"features": torch.rand(B, D), "target": torch.arange(B)},
    "DualDepth": {"probabilities": torch.rand(B, C)},
    "Features": {"features": torch.rand(B, D), "loss": torch.rand(B)},
    "Forgotten": {"correct": torch.ones(B, dtype=torch.bool)},
    "Margins": {"margins": torch.rand(B, C)},
    "Novelty": {"loss": torch.rand(B), "vector": torch.rand(B, D)},
    "UpperBound": {"mean": torch.rand(B), "variance": torch.rand(B)},
}
SHIPPED = [
    part
    for part in (getattr(trackers, name) for name in trackers.__all__)
    if isinstance(part, type) and issubclass(part, Tracker) and part not in (Tracker, trackers.Pipe)
]


def resolved(part):
    given = {name: value for name, value in (EXAMPLES.get(part.__name__) or {}).items() if name != "losses"}
    one = part(**{name: 0.5 if isinstance(v, sw.schedules.Schedule) else v for name, v in given.items()})
    return one.within(20)


def built(part):
    if part is trackers.Reducible:
        return part(trackers.IrreducibleLosses(torch.arange(6), torch.ones(6)))
    return resolved(part)


def sum_of_products(text, sizes):
    total = 0
    for term in text.split("+"):
        product = 1
        for factor in term.split():
            product *= sizes.get(factor) or int(factor)
        total += product
    return total


@pytest.mark.parametrize("part", SHIPPED, ids=lambda part: part.__name__)
def test_the_bytes_of_a_docstring_are_those_of_the_declared_columns(part):
    text = " ".join(part.__doc__.split())
    stated = re.search(
        r"Memory: ([\dCdK +]+) bytes a sample(?: while recording[\w =`]*(?:\([^)]*\))?, (\d+) (when|after))?",
        text,
    )
    assert stated, part.__doc__
    tracker, values = built(part), FED.get(part.__name__, LOSS)
    sizes = {"C": C, "d": D, **tracker.sizes}
    declared = tracker.columns(values).values()
    assert tracker.bytes_a_sample(values) == sum_of_products(stated[1], sizes)
    if stated[3] == "when":
        assert tracker.bytes_a_sample(values, final=True) == int(stated[2])
    elif stated[3] == "after":
        left = [column for column in declared if column.until is None]
        assert sum(c.bytes_a_sample(next(iter(values.values()))) for c in left) == int(stated[2])
    else:
        assert tracker.bytes_a_sample(values, final=True) == tracker.bytes_a_sample(values)


@pytest.mark.parametrize("part", SHIPPED, ids=lambda part: part.__name__)
def test_a_state_has_the_declared_columns_from_the_start_to_the_end(part):
    tracker, values, n = built(part), FED.get(part.__name__, LOSS), 6
    declared = tracker.columns(values)
    state = tracker.start(n, values)
    assert state.keys() == {name for name, column in declared.items() if column.since is None}
    for name, kept in state.items():
        column = declared[name]
        like = values[column.of] if column.of else next(iter(values.values()))
        assert (kept.dtype, tuple(kept.shape)) == (
            column.kind(like),
            (n, *column.row(like)) if column.per_sample else column.row(like),
        )
    per_sample = sum(kept[0].nbytes for name, kept in state.items() if declared[name].per_sample)
    assert per_sample == tracker.bytes_a_sample(values)
    if part in (trackers.UpperBound, trackers.Smoothed, trackers.BestAccuracy, trackers.ClassDistance):
        return  # they read columns of another tracker, or need features to be final
    tracker.observe(state, torch.tensor([0, 2, 5]), values)
    tracker.finish(state)
    assert state.keys() == {name for name, column in declared.items() if column.until != "final"}


@dataclass(frozen=True)
class Largest(Tracker):
    """The largest value of a signal: written by two methods alone."""

    @property
    def ranks(self):
        return "largest"

    def columns(self, values):
        return {"largest": Column(first=-1.0)}

    def observe(self, state, ids, values):
        (new,) = values.values()
        trackers.base.put(state, ids, {"largest": torch.maximum(state["largest"][ids], new)})
        return ids, {}


def test_a_tracker_needs_to_declare_its_columns_and_to_observe():
    policy = Policy(signals.loss, Largest(), pickers.TopK(0.5), source="training")
    selector = sw.Selector(policy, 4, epochs=3)
    for epoch, losses in enumerate(([1.0, 5.0], [4.0, 2.0])):
        assert selector.plan(epoch).ids.tolist() == [0, 1]
        selector.observe(torch.tensor([0, 1]), torch.tensor(losses))
    assert selector.score().tolist() == [4.0, 5.0, -1.0, -1.0]
    again = sw.Selector(policy, 4, epochs=3)
    again.load_state_dict(selector.state_dict())
    assert again.score().tolist() == [4.0, 5.0, -1.0, -1.0]
    damaged = selector.state_dict()
    damaged["engine"]["memory"]["largest"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"\['largest'\] must have 4 rows, got 3"):
        again.load_state_dict(damaged)


def test_a_pipe_passes_on_all_that_its_stages_declare():
    depth = trackers.DualDepth(T=5, window=3)
    pipe = trackers.Pipe((trackers.Last(), trackers.Percentile(4)))
    assert pipe.local == ("recent",)
    assert pipe.whole_batches
    assert trackers.Pipe((trackers.Last(), depth)).complete
    assert not pipe.complete
    table = trackers.IrreducibleLosses(torch.arange(6), torch.ones(6), {"n": 6})
    above = trackers.Reducible(table) | trackers.Ema(0.5)
    assert above.provenance == {"n": 6}
    with pytest.raises(ValueError, match="are of 6 samples, but this data set has 7"):
        above.check_fits(7, lambda: None)
    state = above.start(6, LOSS)
    assert above.exchanged(state) == ["reducible_loss", "mean"]  # not `irreducible`, the same everywhere
    forgotten = trackers.Last() | trackers.Forgotten()
    assert forgotten.exchanged(forgotten.start(4, FED["Forgotten"])) == ["correct", "now"]


def test_the_columns_of_a_later_stage_have_the_types_of_what_it_is_fed():
    declared = (trackers.Count() | trackers.Ema(0.5)).columns(LOSS)
    kinds = {name: column.dtype for name, column in declared.items()}
    assert kinds == {"count": torch.int32, "mean": torch.int32}


def test_final_columns_of_one_stage_leave_those_of_the_others():
    pipe = trackers.Last() | trackers.Mean(first=2)
    state = pipe.start(4, LOSS)
    pipe.observe(state, torch.arange(3), LOSS)
    pipe.close(state)
    pipe.finish(state)
    assert state.keys() == {"loss", "mean"}
    assert torch.equal(state["mean"][:3], LOSS["loss"])
    assert state["mean"][3].isnan()


def test_a_first_value_may_depend_on_the_number_of_samples():
    assert trackers.DecoupledEma(0.5, 0.5).start(8, LOSS)["score"].tolist() == [0.125] * 8


def test_a_column_starts_as_what_was_never_observed():
    for dtype, first in ((torch.float32, None), (torch.int64, -1), (torch.bool, False)):
        (value,) = Column().empty(1, torch.zeros(2, dtype=dtype)).tolist()
        assert (value != value) if first is None else value == first
    wide = replace(Column(), columnwise=True).empty(4, torch.zeros(2, 3))
    assert wide.shape == (4, 3)
    assert wide.T.is_contiguous()
