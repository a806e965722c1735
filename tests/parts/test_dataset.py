"""What is learned of a data set without training on it: length, labels, fingerprint."""

import random
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import ConcatDataset, IterableDataset, Subset, TensorDataset

import samplewise as sw
from samplewise.data.dataset import find_labels, fingerprint, labels_of, length_of


@dataclass
class Items:
    """A map-style data set over a list; remembers who was read."""

    items: list
    read: list = field(default_factory=list)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.read.append(i)
        return self.items[i]


def pairs(n=10, changed=None):
    x, y = torch.arange(n * 3.0).view(n, 3), torch.arange(n) % 3
    if changed is not None:
        x[changed] += 1e-6 * (1 + x[changed])
    return TensorDataset(x, y)


def test_the_same_data_have_the_same_fingerprint_and_other_data_another():
    same = fingerprint(pairs(), None)
    assert same == fingerprint(pairs(), None)
    assert len(same) == 64
    others = [
        fingerprint(pairs(changed=4), None),
        fingerprint(pairs(11), None),
        fingerprint(pairs(), torch.zeros(10, dtype=torch.int64)),
        fingerprint(Subset(pairs(), [1, 0, *range(2, 10)]), None),
    ]
    assert len({same, *others}) == 5


def test_a_fingerprint_reads_at_most_256_evenly_spaced_samples():
    data = Items(list(range(10_000)))
    fingerprint(data, None)
    assert len(data.read) == 256
    assert (data.read[0], data.read[-1]) == (0, 9999)
    assert {b - a for a, b in zip(data.read, data.read[1:], strict=False)} <= {39, 40}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.ones(3), np.ones(3, dtype=np.float32)),
        (np.ones((2, 3)), np.ones((3, 2))),
        (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
        ({"x": np.ones(2), "y": 1}, {"x": np.ones(2), "y": 2}),
        ({"x": 1}, {"z": 1}),
        (("a", [1, 2]), ("a", [1, 3])),
        ("text", "other text"),
        (1.5, 1.25),
    ],
)
def test_every_kind_of_sample_counts(one, other):
    assert fingerprint(Items([one]), None) == fingerprint(Items([one]), None)
    assert fingerprint(Items([one]), None) != fingerprint(Items([other]), None)


def test_the_order_of_keys_does_not_count():
    assert fingerprint(Items([{"a": 1, "b": 2}]), None) == fingerprint(Items([{"b": 2, "a": 1}]), None)


def test_labels_a_data_set_carries():
    class Carries(Items):
        targets = (2, 0, 1)

    assert find_labels(Carries(["a", "b", "c"])).tolist() == [2, 0, 1]
    assert find_labels(Subset(Carries(["a", "b", "c"]), [2, 2, 0])).tolist() == [1, 1, 2]
    assert find_labels(pairs(4)).tolist() == [0, 1, 2, 0]
    assert find_labels(Items([1, 2])) is None
    assert find_labels(Carries(["only one"])) is None
    for other in (torch.ones(3), torch.ones(3, 2, dtype=torch.int64), torch.tensor([True, False, True])):
        assert find_labels(TensorDataset(torch.ones(3, 2), other)) is None


def test_labels_given_win_over_those_carried():
    assert labels_of([1, 1, 1, 1], pairs(4), 4).tolist() == [1, 1, 1, 1]
    assert labels_of(np.array([0, 1, 2, 3], dtype=np.int32), None, 4).dtype == torch.int64
    assert labels_of(None, None, 4) is None


def test_length():
    assert length_of(pairs(7)) == 7
    assert length_of([1, 2, 3]) == 3
    with pytest.raises(TypeError, match="the data set must have a length, but object has none"):
        length_of(object())


# ------------------------------------------------------------ labels that are those trained on


class Raw:
    """As torchvision's data sets: `targets` are raw, samples are what `give` makes of them."""

    def __init__(self, targets, give=lambda x, y: (x, y)):
        self.targets, self.give, self.read = targets, give, []

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        self.read.append(i)
        noise = torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002
        return self.give(torch.full((3,), 0.5) + noise, int(np.asarray(self.targets)[i]))


RAW = [(i * 7) % 4 for i in range(60)]
GROUPED = {0: 1, 1: 0, 2: 1, 3: 1}

OTHERS = {
    "mapped": lambda x, y: (x, GROUPED[y]),
    "as a tensor": lambda x, y: (x, torch.tensor(GROUPED[y])),
    "as an array": lambda x, y: (x, np.int64(GROUPED[y])),
    "as a tensor of one": lambda x, y: (x, torch.tensor([GROUPED[y]])),
    "as a float": lambda x, y: (x, float(GROUPED[y])),
    "as a truth value": lambda x, y: (x, y == 3),
    "one-hot": lambda x, y: (x, torch.eye(4)[GROUPED[y]]),
    "one-hot as a list": lambda x, y: [x, [float(c == GROUPED[y]) for c in range(4)]],
    "one-hot, smoothed": lambda x, y: (x, torch.eye(4)[GROUPED[y]] * 0.9 + 0.025),
    "one-hot, smoothed, in half precision": lambda x, y: (x, (torch.eye(4)[y - 1] * 0.7 + 0.075).half()),
    "in a mapping": lambda x, y: {"pixel_values": x, "anything": GROUPED[y]},
    "deep inside": lambda x, y: {"x": x, "meta": [{"y": GROUPED[y]}]},
    "shifted by one": lambda x, y: (x, y + 1),
    "ignored in loss": lambda x, y: (x, -100),
    "one class changed": lambda x, y: (x, 0 if y == 3 else y),
}


@pytest.mark.parametrize("give", OTHERS.values(), ids=OTHERS)
def test_labels_found_that_are_not_those_of_the_samples_are_refused(give):
    with pytest.raises(
        ValueError,
        match=r"labels stored in the data set differ from the labels in its samples: .*"
        r"Pass the 60 class numbers .* Selector\(\.\.\., labels=\.\.\.\)",
    ):
        sw.Selector("random", Raw(RAW, give), epochs=1)
    given = sw.Selector("random", Raw(RAW, give), epochs=1, labels=[GROUPED[y] for y in RAW])
    assert given.labels.tolist() == [GROUPED[y] for y in RAW]


SAME = {
    "as they are": lambda x, y: (x, y),
    "first": lambda x, y: (y, x),
    "with an index": lambda x, y: (x, 17, y),
    "one-hot": lambda x, y: (x, torch.eye(4)[y]),
    "one-hot, whole numbers": lambda x, y: (x, torch.eye(4, dtype=torch.int64)[y]),
    "in a mapping": lambda x, y: {"x": x, "y": torch.tensor(y), "weight": 2},
    "no label": lambda x, y: x,
    "one-hot, smoothed": lambda x, y: (x, torch.eye(4)[y] * 0.9 + 0.025),
    "a mixture": lambda x, y: (x, torch.tensor([0.7, 0.3, 0.0, 0.0])),
    "all classes alike": lambda x, y: (x, torch.full((4,), 0.25)),
    "several classes": lambda x, y: (x, torch.tensor([1.0, 1.0, 0.0, 0.0])),
    "text": lambda x, y: (x, "abcd"[GROUPED[y]]),
    "an image of classes": lambda x, y: (x, torch.full((2, 2), GROUPED[y])),
    "sparse": lambda x, y: (torch.eye(4)[GROUPED[y]].to_sparse(), x),
}


@pytest.mark.parametrize("give", SAME.values(), ids=SAME)
def test_labels_found_stand_where_samples_give_the_same_or_none(give):
    assert labels_of(None, Raw(RAW, give), 60).tolist() == RAW


def test_a_few_samples_are_looked_at_one_of_each_class_among_them():
    data = Raw([0] * 400 + [1] * 2 + [2] * 598)
    labels_of(None, data, 1000)
    assert len(data.read) <= 16
    assert {0, 400, 402, 999} <= set(data.read)
    given = Raw(RAW)
    labels_of(RAW, given, 60)
    assert given.read == []


def test_looking_at_samples_leaves_the_global_random_states_as_they_were():
    def states(**given):
        torch.manual_seed(3), random.seed(3), np.random.seed(3)  # noqa: NPY002
        data = Raw(RAW)
        sw.Selector("random", data, epochs=1, **given)
        return len(data.read), torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002

    # Held against a Selector that looks at none: the test-time checker draws from `random` itself.
    (none, *untouched), (some, *looked) = states(labels=RAW), states()
    assert (none, some > 0) == (0, True)
    assert looked == untouched


class Batched(Raw):
    """Hands out a whole batch in one call, and no single sample."""

    def __getitem__(self, i):
        raise AssertionError("__getitems__ is there to be used")

    def __getitems__(self, ids):
        return [(0.5, GROUPED[self.targets[i]]) for i in ids]


def test_a_data_set_that_hands_out_batches_is_looked_at_by_batch():
    with pytest.raises(
        ValueError, match=r"labels in its samples: for sample 0 the stored label is 0, but .* is 1"
    ):
        labels_of(None, Batched(RAW), 60)


X, Y, Z = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([3, 4, 5, 6, 7, 8])
TENSORS = {
    "pair": ((X, Y), Y),
    "third is a weight": ((X, Y, torch.rand(6)), Y),
    "second is a mask": ((X, torch.ones(6, 2, dtype=torch.int64), Y), Y),
    "third may be the label too": ((X, Y, Z), None),
    "only inputs": ((Y,), None),
    "whole-number inputs": ((Y, torch.rand(6)), None),
    "small unsigned": ((X, Y.to(torch.uint8)), Y),
    "unsigned": ((X, Y.to(torch.uint32)), Y),
    "negative": ((X, Y - 100), None),
    "huge": ((X, Y * 10**12), None),
    "float": ((X, Y.float()), None),
}


@pytest.mark.parametrize(("tensors", "labels"), TENSORS.values(), ids=TENSORS)
def test_labels_of_a_tensor_dataset(tensors, labels):
    found = labels_of(None, TensorDataset(*tensors), 6)
    assert (found is None) if labels is None else torch.equal(found, labels)


def test_labels_through_nested_data_sets():
    left, right = Raw(RAW), TensorDataset(torch.zeros(9, 1), torch.arange(9) % 3)
    both = ConcatDataset([left, Subset(right, [8, 0, 4])])
    assert find_labels(both).tolist() == [*RAW, 2, 0, 1]
    inner = Subset(Subset(both, np.array([60, 61, 1, 2])), torch.tensor([3, 0]))
    assert labels_of(None, inner, 2).tolist() == [RAW[2], 2]
    assert find_labels(ConcatDataset([left, Items([1, 2])])) is None
    other = Subset(Raw(RAW, OTHERS["mapped"]), range(10, 40))
    with pytest.raises(ValueError, match="differ from the labels in its samples: for sample 0"):
        labels_of(None, other, 30)


CARRIED = {
    "series": pd.Series(RAW, index=range(100, 160)),
    "turned series": pd.Series(RAW, index=range(59, -1, -1)),
    "nullable": pd.Series(RAW, dtype="Int64"),
    "uint8": np.array(RAW, dtype=np.uint8),
    "uint16": np.array(RAW, dtype=np.uint16),
    "uint64": np.array(RAW, dtype=np.uint64),
    "int8": torch.tensor(RAW, dtype=torch.int8),
    "tuple": tuple(RAW),
    "list of tensors": [torch.tensor(y) for y in RAW],
}


@pytest.mark.parametrize("targets", CARRIED.values(), ids=CARRIED)
def test_labels_may_be_any_whole_numbers_given_or_carried(targets):
    assert labels_of(None, Raw(targets), 60).tolist() == RAW
    assert labels_of(targets, None, 60).tolist() == RAW
    assert labels_of(targets, None, 60).dtype == torch.int64


UNUSABLE = {
    "text": (["cat", "dog", "cat"], "got .*cat"),
    "float": ([0.0, 1.0, 2.0], r"must be 3 class numbers >= 0, got \[0\.0, 1\.0, 2\.0\]"),
    "one-hot": (torch.eye(3, dtype=torch.int64), r"got \(3, 3\)"),
    "truth values": (torch.tensor([True, False, True]), "got torch.bool"),
    "negative": ([0, -1, 1], r"got -1 for sample 1 \(1 such samples\)"),
    "ignored": (torch.tensor([0, -100, -100]), r"got -100 for sample 1 \(2 such samples\)"),
    "huge": (np.array([0, 1 << 40, 1]), r"got 1099511627776 for sample 1 .* torch\.unique"),
    "ragged": ([[0], [1, 2], []], "must be 3 class numbers"),
    "too few": ([0, 1], r"got \(2,\)"),
    "missing": (pd.Series([0, None, 1]), "got float64"),
}


@pytest.mark.parametrize(("labels", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_labels_that_are_no_class_numbers_are_named_when_given_and_unknown_when_found(labels, said):
    with pytest.raises(ValueError, match=f"labels must be 3 class numbers.*{said}|{said}"):
        labels_of(labels, None, 3)

    class Carries(Items):
        targets = labels

    assert find_labels(Carries([1, 2, 3])) is None


def test_class_labels_of_a_hugging_face_data_set_are_checked_too():
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"x": datasets.Value("float32"), "y": datasets.ClassLabel(names=list("abcd"))})
    data = datasets.Dataset.from_dict({"x": [0.5] * 60, "y": RAW}, features=kinds)
    assert labels_of(None, data, 60).tolist() == RAW
    assert labels_of(data["y"], data, 60).tolist() == RAW
    data.set_transform(lambda rows: {"x": rows["x"], "y": [GROUPED[y] for y in rows["y"]]})
    with pytest.raises(ValueError, match=r"differ from the labels in its samples: .*, but sample\['y'\] is"):
        labels_of(None, data, 60)


# -------------------------------------------------------------------- what is no map-style data set


class Endless(IterableDataset):
    def __len__(self):
        return 10

    def __iter__(self):
        return iter([0] * 10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Endless(), "Endless is an IterableDataset.*Stream.*list"),
        (pd.DataFrame({"x": [1.0], "y": [0]}), "DataFrame returns columns by name.*TensorDataset"),
        (pd.Series([1, 2], index=[5, 6]), "Series returns columns by name"),
        (pd.DataFrame({"x": [1.0]}).to_records, "has none"),
        ("train.csv", "must be a Dataset, got the str 'train.csv'"),
        ({0: 1}, "dataset\\[i\\], but dict does not"),
        ({1, 2}, "dataset\\[i\\], but set does not"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_gives_no_samples_by_position_is_refused_with_the_way_out(given, said):
    with pytest.raises(TypeError, match=said):
        sw.Selector("infobatch", given, epochs=1, batch_size=4)
    scoring = sw.Scoring(dataset=given)
    with pytest.raises(TypeError, match=said):
        sw.Selector("infobatch", [1, 2], epochs=1, batch_size=2, scoring=scoring)


def test_arrow_and_polars_tables_are_refused_alike():
    table = pytest.importorskip("pyarrow").table({"x": [1.0, 2.0]})
    with pytest.raises(TypeError, match="Table returns columns by name"):
        length_of(table)
