"""What is learned of a data set without training on it: length, labels, fingerprint."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from samplewise.dataset import find_labels, fingerprint, labels_of, length_of


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
