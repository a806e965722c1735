"""What in a batch holds one item a row: known from the collate, declared, or refused; never its length."""

import copy
import dataclasses
import pickle
import random
import threading
from collections import UserDict, namedtuple

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import default_collate

import samplewise as sw
from samplewise.data import layout as layouts
from samplewise.data.layout import Layout
from tests.seams.toys import Tensors

Pair = namedtuple("Pair", ["x", "y"])


@dataclasses.dataclass
class Box:
    x: object
    texts: object


class Graph:
    """A sample that no collate puts together."""

    def __init__(self, i):
        self.nodes = torch.full((i % 3 + 1, 4), float(i))


class Data:
    """40 samples whose numbers and texts say their id."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return self.make(i)


def vector(i):
    return torch.full((4,), float(i))


def captions(i):
    return [f"{i}{letter}" for letter in "abcd"]


def by_time(samples):
    return torch.stack(samples, 1)


def with_mask(samples):
    return {"x": torch.stack(samples), "mask": torch.arange(16).view(4, 4), "names": ["a", "b", "c", "d"]}


def zipped(samples):
    return tuple(zip(*samples, strict=True))


def narrowed(make, collate, rows, check, *, workers=0, name="random_batch"):
    """Hold every batch of an epoch, after narrowing, against its ids."""
    selector = sw.Selector(name, Data(make), epochs=1, batch_size=rows, seed=3)
    loader = selector.loader(collate_fn=collate, num_workers=workers)
    sizes = []
    for batch in loader:
        chosen = selector.narrow(batch)
        check(chosen.data, chosen.ids.tolist())
        sizes.append((len(batch.ids), len(chosen.ids)))
    assert any(k < b for b, k in sizes)


def same(found, ids):
    """Whether every part of a sample's fields is the sample's."""
    for part in found:
        assert [
            int(item.flatten()[0]) if isinstance(item, torch.Tensor) else int(item[:-1]) for item in part
        ] == ids


def even(ids):
    return [i for i in ids if not i % 2]


@pytest.mark.parametrize("rows", [3, 4, 5, 8])
def test_torchs_collate_puts_fields_of_texts_beside_each_other(rows):
    narrowed(
        lambda i: {"x": vector(i), "options": captions(i)}, None, rows, lambda d, ids: same(d["options"], ids)
    )
    narrowed(lambda i: tuple(captions(i)[:3]), default_collate, rows, lambda d, ids: same(d, ids))
    narrowed(lambda i: f"{i}a", None, rows, lambda d, ids: same([d], ids))
    narrowed(lambda i: [vector(i)] * 4, None, rows, lambda d, ids: same(d, ids))
    narrowed(lambda i: Pair(vector(i), captions(i)), None, rows, lambda d, ids: same([d.x, *d.y], ids))


@pytest.mark.parametrize("rows", [3, 4, 6])
@pytest.mark.parametrize(
    ("make", "collate", "check"),
    [
        (captions, zipped, lambda d, ids: same(d, ids)),
        (captions, list, lambda d, ids: same([[options[0] for options in d]], ids)),
        (lambda i: vector(i).expand(3, 4), list, lambda d, ids: same([d], ids)),
        (lambda i: (vector(i).expand(3, 4), vector(i)), zipped, lambda d, ids: same(d, ids)),
        (vector, by_time, lambda d, ids: same([d.T], ids)),
        (
            captions,
            lambda s: UserDict(a=[o[0] for o in s], b=zipped(s)),
            lambda d, ids: same([d["a"], *d["b"]], ids),
        ),
        (captions, lambda s: Box(None, zipped(s)), lambda d, ids: same(d.texts, ids)),
        (captions, lambda s: [[[o[0] for o in s]]], lambda d, ids: same(d[0], ids)),
        (captions, lambda s: Pair([o[0] for o in s], 1), lambda d, ids: same([d.x], ids)),
        (vector, lambda s: torch.stack(s).numpy().T, lambda d, ids: same([torch.tensor(d.T)], ids)),
        (Graph, list, lambda d, ids: same([[graph.nodes for graph in d]], ids)),
        (lambda i: None if i % 2 else f"{i}a", list, lambda d, ids: same([[t for t in d if t]], even(ids))),
    ],
)  # fmt: skip
def test_a_collate_of_ones_own_is_known_by_what_follows_the_number_of_samples(make, collate, check, rows):
    narrowed(make, collate, rows, check)


@pytest.mark.parametrize("rows", [3, 4, 5])
@pytest.mark.parametrize("workers", [0, 1])
def test_what_stays_belongs_to_the_whole_batch(rows, workers):
    def check(data, ids):
        same([data["x"]], ids)
        assert torch.equal(data["mask"], torch.arange(16).view(4, 4))
        assert data["names"] == ["a", "b", "c", "d"]

    narrowed(vector, with_mask, rows, check, workers=workers)


def test_a_layout_learned_in_a_worker_survives_pinning_pickles_and_copies():
    layout = Layout.of(with_mask)
    layout.learn([vector(0)], with_mask)
    batch, rows = with_mask([vector(i) for i in range(4)]), torch.tensor([1, 3])
    for same_one in (layout, pickle.loads(pickle.dumps(layout)), copy.deepcopy(layout)):
        picked = same_one.take(batch, rows, 4)
        assert (picked["x"][:, 0].tolist(), len(picked["mask"]), len(picked["names"])) == ([1.0, 3.0], 4, 4)


class Stateful:
    """A collate that counts, draws, keeps a generator and empties the samples it gets."""

    def __init__(self):
        self.calls, self.rng, self.numpy_rng = 0, torch.Generator(), np.random.default_rng(0)
        self.cache = {}

    def __call__(self, samples):
        self.calls += 1
        noise = torch.rand(1, generator=self.rng) + torch.rand(1) + self.numpy_rng.random()
        noise += np.random.rand() + random.random() * 0  # noqa: NPY002 - Python's is held below
        return torch.stack([sample.pop("x") for sample in samples]) + 0 * noise, float(noise)


def test_comparing_leaves_samples_collate_and_random_states_as_found():
    def run(name):
        torch.manual_seed(0), np.random.seed(0)  # noqa: NPY002
        collate = Stateful()
        selector = sw.Selector(name, Data(lambda i: {"x": vector(i)}), epochs=1, batch_size=8)
        drawn = [selector.narrow(batch).data[1] for batch in selector.loader(collate_fn=collate)]
        return collate.calls, drawn, torch.rand(1).item()

    assert run("random_batch") == run("full")
    before = random.getstate()
    with layouts._undisturbed(Stateful()):  # beartype draws from it as well, while it checks our calls
        random.random()
    assert random.getstate() == before


def test_a_method_that_does_not_narrow_compares_nothing():
    class Once(Stateful):
        def __call__(self, samples):
            assert len(samples) == 8
            return super().__call__(samples)

    for policy in ("full", "infobatch", sw.recipes.random_batch(keep=1.0)):
        selector = sw.Selector(policy, Data(lambda i: {"x": vector(i)}), epochs=1, batch_size=8)
        next(iter(selector.loader(collate_fn=Once())))


@pytest.mark.parametrize(
    ("collate", "said"),
    [
        (lambda s: Graph(0), r"batch is a Graph, and rows cannot be picked from it.*collate_fn=list"),
        (lambda s: {"g": {Graph(0)}}, r"batch\['g'\] is a set, and rows .*collate_fn=list"),
        (lambda s: torch.nested.as_nested_tensor(s, layout=torch.jagged), "layout torch.jagged, and rows"),
        (lambda s: torch.stack(s).to_sparse_csr(), r"a tensor of layout torch.sparse_csr, and rows"),
        (lambda s: pack_sequence(s), r"batch is a PackedSequence, and rows .*collate_fn=list"),
        (lambda s: torch.cat([*s, *s]).view(-1, 4), r"batch has shape \(16, 4\): exactly one .*sw\.shared"),
        (lambda s: torch.ones(len(s), len(s)), r"batch has shape \(8, 8\): exactly one axis must"),
        (lambda s: torch.ones(len(s) + 1), r"batch has shape \(9,\): exactly one axis .*collate_fn=list"),
        (lambda s: (torch.stack(s), ["a"] * 2 * len(s)), r"batch\[1\] must hold one item for .* 8 samples"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", [sw.recipes.random_batch(), sw.recipes.evolved_sampling(anneal=0.2)])
def test_what_cannot_be_narrowed_is_refused_at_the_first_batch(collate, said, policy):
    model = torch.nn.Linear(4, 1)
    selector = sw.Selector(
        policy, Data(vector), lambda d: torch.ones(8), model=model, epochs=10, batch_size=8
    )
    batch = next(iter(selector.loader(collate_fn=collate)))
    if policy.name == "evolved_sampling":
        assert not selector.engine.narrows, "nothing is narrowed in the first epoch"
    with pytest.raises((TypeError, ValueError), match=said):
        selector.loss(batch)


def test_so_is_what_a_later_pass_could_not_take_one_by_one():
    model = torch.nn.Linear(4, 3)

    def forward(data):
        x, y = data["x"], torch.zeros(len(data["x"]), dtype=torch.int64)
        return torch.nn.functional.cross_entropy(model(x), y, reduction="none") + 0 * len(data["all"])

    def collate(samples):
        return {"x": torch.stack(samples), "all": torch.stack([*samples, *samples])}

    def first(policy, collate):
        selector = sw.Selector(policy, Data(vector), forward, model=model, epochs=10, batch_size=8)
        selector.loss(next(iter(selector.loader(collate_fn=collate))))

    grand = sw.recipes.grand(layer="full", at=5)
    with pytest.raises(ValueError, match=r"batch\['all'\] has shape \(16, 4\): exactly one axis"):
        first(grand, collate)
    with pytest.raises(ValueError, match=r"batch\['all'\] has shape \(16, 4\): exactly one axis"):
        first(sw.Recorder([grand, sw.recipes.forgetting()]), collate)
    first(grand, lambda samples: {"x": torch.stack(samples), "all": samples})
    first(sw.recipes.grand(layer="full", at=5, keep=1.0), collate)
    first("full", collate)


def test_lists_of_graphs_are_put_together_after_they_were_chosen():
    model = torch.nn.Linear(4, 1)

    def forward(graphs):
        sizes = torch.tensor([len(graph.nodes) for graph in graphs])
        each = model(torch.cat([graph.nodes for graph in graphs])).squeeze(1)
        return torch.stack([part.mean() for part in each.split(sizes.tolist())]).square()

    selector = sw.Selector("loss_sampling", Data(Graph), forward, model=model, epochs=1, batch_size=8)
    for batch in selector.loader(collate_fn=list):
        selector.loss(batch).backward()
    assert selector.ledger.samples_backpropagated < selector.ledger.scoring_forwards == 40


def texts(*names):
    return [f"{name}a" for name in names]


def own(data, b=4):
    """A batch of one's own, narrowed."""
    selector = sw.Selector("random_batch", 40, epochs=1, seed=1)
    selector.plan(0)
    chosen = selector.narrow(sw.Batch(torch.arange(b), data))
    assert len(chosen.ids) < b
    return chosen.data, chosen.ids.tolist()


@pytest.mark.parametrize(
    "data",
    [
        {"t": list("abcd"), "x": torch.ones(4)},
        {"t": (0.1, 0.2, 0.3, 0.4), "x": torch.ones(4)},
        {"t": [captions(i) for i in range(4)], "x": torch.ones(4)},
        {"t": [torch.ones(4, 2)] * 4},
        {"t": [{"x": torch.ones(4)}] * 4},
        {"t": [None, "a", "b", None]},
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_without_a_collate(data):
    with pytest.raises(
        ValueError, match=r"batch\['t'\] must declare .*sw\.rows\(\.\.\.\).*sw\.shared\(\.\.\.\)"
    ):
        own(data)


def test_declarations_are_the_way_out():
    data, ids = own(
        {
            "rows": sw.rows(texts(0, 1, 2, 3)),
            "also": sw.rows(torch.full((4, 2), float(i)) for i in range(4)),
            "mask": sw.shared(torch.ones(4, 4)),
            "names": sw.shared(("a", "b", "c", "d")),
            "fields": {"x": torch.arange(4.0)},
            "deep": (sw.rows(texts(0, 1, 2, 3)), Pair(torch.arange(4.0), sw.shared([1, 2, 3, 4]))),
        }
    )
    same([data["rows"], data["also"], data["fields"]["x"], data["deep"][0], data["deep"][1].x], ids)
    assert data["mask"].value.shape == (4, 4)
    assert data["names"].value == ("a", "b", "c", "d")
    assert data["deep"][1].y.value == [1, 2, 3, 4]
    assert isinstance(data["rows"], list)
    with pytest.raises(
        ValueError, match=r"batch\[0\] must hold one item for each of the batch's 4 samples, got 3"
    ):
        own((sw.rows(["a", "a", "a"]), torch.ones(4)))
    for wrong in ("text", torch.ones(4), {"a": 1}):
        with pytest.raises(TypeError, match="rows takes a list or tuple with one item per row, got"):
            sw.rows(wrong)


def declaring(samples):
    """A collate of this module, which workers can import: from Python 3.14 on they are no copies of it."""
    return sw.rows(samples), sw.shared(torch.ones(4, 4))


def test_declarations_pass_workers_and_moves():
    def check(data, ids):
        same([data[0]], ids)
        assert data[1].value.shape == (4, 4)

    narrowed(vector, declaring, 4, check, workers=1)
    moved = sw.Batch(torch.arange(2), declaring([torch.ones(2)] * 2)).to("meta").data
    assert [type(part).__name__ for part in moved] == ["Rows", "Shared"]
    assert moved[0][1].device.type == moved[1].value.device.type == "meta"


def test_earlier_batches_tell_what_a_last_one_holds():
    x, y, z = (torch.arange(8.0).view(8, 1).expand(8, 3) for _ in range(3))
    selector = sw.Selector("random_batch", 40, epochs=1)
    selector.plan(0)
    ids = torch.arange(8)
    selector.narrow(sw.Batch(ids, (x, y, z)))
    chosen = selector.narrow(sw.Batch(ids[:3], (x[:3], y[:3], z[:3])))
    assert len(chosen.data) == 3
    same(chosen.data, chosen.ids.tolist())
    with pytest.raises(ValueError, match="batch must declare what it holds"):
        own((x[:3], y[:3], z[:3]), 3)


def test_fields_that_differ_are_fields_whatever_their_number():
    data, ids = own((torch.arange(4.0), torch.arange(4), torch.ones(4, 2), None))
    same(data[:2], ids)
    data, ids = own([torch.full((i + 5,), float(i)) for i in range(4)])
    same([data], ids)


def test_a_batch_changed_in_the_loop_is_read_anew():
    """As mixup does: other fields than the collate made."""
    selector = sw.Selector("random_batch", Tensors(), epochs=1, batch_size=4)
    for batch in selector.loader(collate_fn=lambda samples: default_collate(samples)):
        x, y = batch.data
        chosen = selector.narrow(sw.Batch(batch.ids, (x, y, y.flip(0), 0.3)))
        assert chosen.data[0][:, 0].tolist() == chosen.ids.tolist()
        assert len(chosen.data) == 4


def test_a_collate_that_wants_a_full_batch_is_not_compared_and_said_so():
    def collate(samples):
        if len(samples) != 4:
            raise RuntimeError("four of them")
        return {"x": torch.stack(samples), "t": [f"{int(s[0])}a" for s in samples]}

    with pytest.raises(
        ValueError, match=r"collate fails on other numbers of samples: RuntimeError: four of them"
    ):
        narrowed(vector, collate, 4, lambda d, ids: None)
    narrowed(
        vector,
        lambda s: collate(s) | {"t": sw.rows(collate(s)["t"])},
        4,
        lambda d, ids: same(d.values(), ids),
    )


class Locked:
    """A sample that has no deep copy."""

    def __init__(self, i):
        self.i, self.lock = i, threading.Lock()


@pytest.mark.parametrize("least", [1, 3])
def test_samples_without_a_deep_copy_and_collates_that_want_a_full_batch_are_compared(least):
    def collate(samples):
        if len(samples) < least:
            raise ValueError("too few")
        ids = torch.tensor([sample["of"].i for sample in samples])
        return {"x": ids, "names": [str(int(i)) for i in ids], "mask": torch.eye(4), "options": list("abcd")}

    def check(data, ids):
        assert data["x"].tolist() == [int(name) for name in data["names"]] == list(ids)
        assert data["mask"].shape == (4, 4)
        assert data["options"] == list("abcd")

    narrowed(lambda i: {"of": Locked(i)}, collate, 4, check)


def test_a_list_of_tensors_is_picked_as_a_tuple_of_them_is():
    x, y, rows = torch.randn(4, 3), torch.arange(4), torch.tensor([0, 3])
    layout = Layout(default=True)
    for data in ([x, y], [x, torch.tensor(2.0)], [y] * 4):
        picked, expected = layout.take(data, rows, 4), layout.take(tuple(data), rows, 4)
        assert type(picked) is list
        assert all(map(torch.equal, picked, expected))
    with pytest.raises(ValueError, match=r"batch\[1\] has shape \(3,\): its first axis"):
        layout.take([x, y[:3]], rows, 4)
