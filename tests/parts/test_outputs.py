"""Picking rows out of any batch, moving it, and what a forward may return."""

import copy
import inspect
import pickle
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintParamViolation
from torch.utils import _pytree as pytree
from torch.utils.data._utils.pin_memory import pin_memory

import samplewise as sw
from samplewise import Batch, Outputs
from samplewise.data.layout import Layout, rows
from samplewise.data.outputs import as_outputs


def take(data, picked, b):
    return Layout().take(data, picked, b)


B, ROWS = 5, torch.tensor([0, 3])
x, y = torch.arange(B * 2.0).view(B, 2), torch.arange(B)
Pair = namedtuple("Pair", ["x", "y"])


@dataclass
class Sample:
    x: Any
    y: Any
    note: str = "n"


@dataclass(frozen=True)
class Frozen:
    x: Any


class Encoding(UserDict):
    """As transformers' BatchEncoding: a UserDict with attributes and its own `to`."""

    def __init__(self, data, encodings=None):
        super().__init__(data)
        self.encodings = encodings

    def __getattr__(self, name):
        try:
            return self.data[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def to(self, device):
        return self


def test_tensors_arrays_and_nested_tuples():
    picked = take((x, (y, [x.numpy(), y])), ROWS, B)
    assert isinstance(picked, tuple)
    assert torch.equal(picked[0], x[ROWS])
    assert torch.equal(picked[1][0], y[ROWS])
    assert isinstance(picked[1][1], list)
    assert isinstance(picked[1][1][0], np.ndarray)
    assert picked[1][1][0].tolist() == x[ROWS].tolist()


@pytest.mark.parametrize(
    "batch",
    [
        {"x": x, "y": y},
        OrderedDict(y=y, x=x),
        UserDict({"x": x, "y": y}),
        Encoding({"x": x, "y": y}, encodings="kept"),
        defaultdict(list, x=x, y=y),
        MappingProxyType({"x": x, "y": y}),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_mappings_keep_their_type_and_order(batch):
    picked = take(batch, ROWS, B)
    assert type(picked) is type(batch)
    assert list(picked) == list(batch)
    assert torch.equal(picked["x"], x[ROWS])
    assert torch.equal(batch["x"], x)
    if isinstance(batch, Encoding):
        assert picked.encodings == "kept"
    if isinstance(batch, defaultdict):
        assert picked.default_factory is list


def test_named_tuples_and_dataclasses_keep_their_type():
    picked = take(Pair(x, y), ROWS, B)
    assert type(picked) is Pair
    assert picked.y.tolist() == [0, 3]
    batch = Sample(x, {"deep": y})
    picked = take(batch, ROWS, B)
    assert type(picked) is Sample
    assert (picked.y["deep"].tolist(), picked.note) == ([0, 3], "n")
    assert batch.x is x
    assert take(Frozen(y), ROWS, B).x.tolist() == [0, 3]


@pytest.mark.parametrize("third", [None, rows(list("abc")), torch.tensor(0.5), 2.0, {"w": torch.arange(3)}])
def test_three_rows_of_three_fields_are_no_list_of_three_samples(third):
    x, y = torch.arange(6).view(3, 2), torch.arange(3)
    picked = take((x, y, third), torch.tensor([0, 2]), 3)
    assert picked[0].tolist() == [[0, 1], [4, 5]]
    assert picked[1].tolist() == [0, 2]
    assert len(picked) == 3


def test_lists_of_samples_are_picked_by_item():
    assert take(rows(tuple("abcde")), ROWS, B) == ["a", "d"]
    assert Layout(default=True).take(tuple("abcde"), ROWS, B) == ("a", "d")
    images = [torch.zeros(3, i + 1) for i in range(B)]
    boxes = [{"boxes": torch.full((i, 4), float(i))} for i in range(B)]
    picked = take((images, boxes), ROWS, B)
    assert [image.shape[1] for image in picked[0]] == [1, 4]
    assert [len(box["boxes"]) for box in picked[1]] == [0, 3]


def test_what_belongs_to_the_whole_batch_passes():
    whole = {
        "scale": 2.0,
        "n": 3,
        "name": "b",
        "raw": b"x",
        "none": None,
        "t": torch.tensor(1.5),
        "np": np.float32(2),
    }
    assert take(whole | {"x": x}, ROWS, B).keys() == {*whole, "x"}
    picked = take(whole, ROWS, B)
    assert all(picked[name] is value for name, value in whole.items())
    assert take(np.array(3.0), ROWS, B).tolist() == 3.0


def test_what_cannot_be_picked_is_named_by_its_path():
    with pytest.raises(
        ValueError, match=r"batch\['a'\]\[1\]\.x has shape \(3, 2\): its first axis must hold the batch"
    ):
        take({"a": (y, Sample(torch.ones(3, 2), y))}, ROWS, B)
    with pytest.raises(
        ValueError, match=r"batch\[1\] has shape \(4,\): its first axis must hold the batch's 5 samples"
    ):
        take((x, np.ones(4)), ROWS, B)
    with pytest.raises(TypeError, match=r"batch\['s'\] is a set, and rows cannot be picked from it"):
        take({"x": x, "s": {1, 2}}, ROWS, B)
    with pytest.raises(
        TypeError, match=r"batch is a object, and rows cannot be picked from it.*collate_fn=list"
    ):
        take(object(), ROWS, B)


def test_picking_keeps_gradients_and_leaves_the_batch_alone():
    weights = torch.ones(B, 2, requires_grad=True)
    take({"w": weights}, ROWS, B)["w"].sum().backward()
    assert weights.grad.sum(1).tolist() == [2.0, 0.0, 0.0, 2.0, 0.0]


def test_a_batch_moves_every_tensor_in_it():
    batch = Batch(y, {"x": x, "names": list("abcde"), "deep": (Sample(x, None), 3)})
    moved = batch.to("meta")
    assert (
        moved.ids.device.type == moved.data["x"].device.type == moved.data["deep"][0].x.device.type == "meta"
    )
    assert (moved.data["names"], moved.data["deep"][1]) == (list("abcde"), 3)
    assert batch.data["x"].device.type == "cpu"
    assert isinstance(moved, Batch)
    assert isinstance(batch.to("cpu", non_blocking=True).data, dict)


def test_the_length_of_a_batch_is_its_samples_and_it_is_a_pair_all_the_same():
    batch = Batch(y, {"x": x})
    assert len(batch) == B
    copies = [copy.copy(batch), copy.deepcopy(batch), pickle.loads(pickle.dumps(batch)), batch._replace()]
    copies += [pytree.tree_map(lambda leaf: leaf, batch), Batch(*batch)]
    for same in copies:
        assert type(same) is Batch
        ids, data = same
        assert torch.equal(ids, y)
        assert torch.equal(data["x"], x)
        assert len(same) == B
    assert batch._replace(data=None).data is None
    assert type(pin_memory(Batch("ids", ["data"]))) is Batch  # no tensors, which want an accelerator
    assert (len(tuple(batch)), len([*batch]), batch[-1], batch[:1]) == (2, 2, batch.data, (y,))


def test_what_a_forward_may_return():
    losses = torch.ones(B)
    assert as_outputs(losses, B).loss is losses
    outputs = Outputs(losses)
    assert as_outputs(outputs, B) is outputs


@pytest.mark.parametrize(
    ("returned", "error", "said"),
    [
        (torch.tensor(1.0), ValueError, 'one loss for the whole batch.*Use reduction="none"'),
        (torch.ones(4), ValueError, r"must return losses of shape \(5,\), got \(4,\)\.$"),
        (torch.ones(5, 1), ValueError, r"got \(5, 1\)\. Did you mean loss\.squeeze\(1\)\?"),
        (torch.ones(5, 3), ValueError, r"got \(5, 3\)\. Did you mean loss\.mean\(1\)\?"),
        (torch.ones(5, 3, 2), ValueError, r"got \(5, 3, 2\)\. Did you mean loss\.flatten\(1\)\.mean\(1\)\?"),
        (torch.ones(3, 5), ValueError, r"got \(3, 5\)\.$"),
        (
            sw.packed.Losses(torch.ones(5), torch.ones(5).long()),
            TypeError,
            r"got Losses\. Return its `mean`: sw\.packed\.losses\(\.\.\.\)\.mean",
        ),
        (
            Outputs(torch.ones(4), token_losses=torch.ones(4, 2), token_targets=torch.ones(4, 2).long()),
            ValueError,
            r"got \(4,\)\. Do sequences share a row\? .*is a sequence empty\? .*Leave it out of the data",
        ),
        (
            Outputs(torch.ones(6), token_losses=torch.ones(6, 2), token_targets=torch.ones(6, 2).long()),
            ValueError,
            r"got \(6,\)\. The batch marks more sequences than it has ids.*if a row is a sample",
        ),
        (Outputs(torch.tensor(1.0)), ValueError, 'Use reduction="none"'),
        (
            {"loss": torch.ones(5)},
            TypeError,
            r"per-sample losses \(b,\) or sw\.Outputs\(loss=\.\.\.\), got dict",
        ),
        (None, TypeError, "got NoneType"),
        (1.0, TypeError, "got float"),
    ],
)
def test_what_a_forward_may_not_return(returned, error, said):
    with pytest.raises(error, match=said):
        as_outputs(returned, B)


ODD = {
    "soft targets": ({"targets": torch.tensor([0.2, 0.8, 0.1])}, "targets must be 3 integer class numbers"),
    "one-hot targets": ({"targets": torch.eye(3)}, "targets must be 3 integer class numbers"),
    "targets in a column": (
        {"targets": torch.tensor([[0], [1], [2]])},
        "targets must be 3 integer class numbers",
    ),
    "too few targets": ({"targets": torch.tensor([0, 1])}, "targets must have 3 rows"),
    "flat logits": ({"logits": torch.zeros(3)}, "logits must have shape"),
    "deep logits": ({"logits": torch.zeros(3, 3, 2)}, "logits must have shape"),
    "too few logits": ({"logits": torch.zeros(2, 3)}, "logits must have 3 rows"),
}


@pytest.mark.parametrize(("changed", "said"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", ["el2n", "kakurenbo"])
def test_what_is_observed_has_the_shapes_that_a_forward_must_return(name, changed, said):
    selector = sw.Selector(name, 3, epochs=12)
    ids = selector.plan(0).ids
    right = {"loss": torch.ones(3), "logits": torch.eye(3), "targets": torch.tensor([0, 1, 2])}
    with pytest.raises(ValueError, match=rf"Outputs\.{said}"):
        selector.observe(ids, sw.Outputs(**(right | changed)))
    selector.observe(ids, sw.Outputs(**right))
    selector.observe(ids[:0], sw.Outputs(**{key: value[:0] for key, value in right.items()}))


def test_a_field_that_no_signal_reads_may_have_any_shape():
    selector = sw.Selector("infobatch", 3, epochs=2)
    selector.plan(0)
    selector.observe(torch.arange(3), sw.Outputs(torch.ones(3), logits=torch.zeros(3), targets=torch.eye(3)))
    assert selector.score().tolist() == [1.0, 1.0, 1.0]


def test_numbers_of_numpy_build_a_selector_whose_state_and_notes_are_plain():
    given = {"epochs": np.int32(2), "batch_size": np.int64(2), "seed": np.uint8(3), "sync_every": np.int64(4)}
    selector = sw.Selector.__new__(sw.Selector)
    build = inspect.unwrap(sw.Selector.__init__)  # without the type checks of these tests, as for users
    build(selector, "full", [torch.zeros(1)] * 4, lambda data: data.mean(1), **given)
    assert sum(1 for _ in selector.loader()) == 2
    assert type(selector.state_dict()["seed"]) is type(selector.provenance()["seed"]) is int


def test_a_batch_of_a_declared_kind_is_a_batch_as_any_other():
    made = sw.Batch[list[int]](torch.arange(2), [5, 6])
    assert type(made) is type(made._replace(data=[7, 8])) is type(made.to("cpu")) is sw.Batch
    assert type(pickle.loads(pickle.dumps(made))) is type(copy.deepcopy(made)) is sw.Batch

    @beartype
    def double(batch: sw.Batch[list[int]], other: sw.Batch) -> sw.Batch:
        return batch._replace(data=[2 * number for number in batch.data + other.data])

    assert double(made, made).data == [10, 12, 10, 12]
    with pytest.raises(BeartypeCallHintParamViolation):
        double(made, (torch.arange(2), [5, 6]))
