"""Fields of your own pickers and trackers whose names the base classes use themselves."""

import copy
import pickle
from dataclasses import dataclass, make_dataclass, replace

import pytest
import torch

from samplewise import pickers, trackers
from samplewise.pickers import Picked, Picker
from samplewise.trackers import Tracker


class Half(Picker):
    def size(self, m, least=0):
        return m // 2, True

    def pick(self, pool):
        return Picked(torch.arange(pool.m // 2))


class Silent(Tracker):
    ranks = None

    def observe(self, state, ids, values):
        return ids, values


@pytest.mark.parametrize(
    ("base", "name", "value"),
    [
        (Half, "share", 0.3), (Half, "rows", 5), (Half, "columns", 2), (Half, "random", 3),
        (Half, "nested", 2),
        (Half, "ranks", "loss"), (pickers.TopK, "share", 0.3), (pickers.PerClass, "settle", 1),
        (Silent, "columns", 3), (Silent, "local", 2), (Silent, "close", 1), (Silent, "complete", 4),
        (trackers.Last, "read", 1),
    ],
)  # fmt: skip
def test_a_field_with_a_taken_name_is_refused_when_the_part_is_built(base, name, value):
    mine = make_dataclass("Mine", [(name, type(value), value)], bases=(base,), frozen=True)
    given = {"keep": 0.5} if base is pickers.TopK else {}
    given |= {"inner": pickers.TopK(0.5)} if base is pickers.PerClass else {}
    part = "Picker" if issubclass(base, Picker) else "Tracker"
    said = rf"Mine\.{name} must not be a field: {part} uses this name itself\. Give the field another name\."
    with pytest.raises(TypeError, match=said):
        mine(**given)


@dataclass(frozen=True)
class Mine(Half):
    by: str | None = "loss"
    random: bool = True
    size_of_a_step: int = 3


@dataclass(frozen=True)
class Whole(Silent):
    complete: bool = True
    ranks: str | None = "loss"


@pytest.mark.parametrize("part", [Mine(), Whole()], ids=lambda part: type(part).__name__)
def test_other_fields_and_attributes_that_are_set_on_purpose_are_fine(part):
    assert replace(part) == copy.deepcopy(part) == pickle.loads(pickle.dumps(part)) == part
    assert getattr(part, "random", True)
    assert getattr(part, "complete", True)
