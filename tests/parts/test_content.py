"""The content of samples: the same bytes in every process, and other bytes for other content."""

import collections
import dataclasses
import datetime
import enum
import functools
import hashlib
import pathlib
import subprocess
import sys
import threading
import types
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from samplewise.data.content import add
from samplewise.data.dataset import fingerprint


def content(value):
    digest = hashlib.sha256()
    add(digest, value)
    return digest.hexdigest()


class Graph:
    """An object without a repr of its own."""

    def __init__(self, x, **more):
        self.x = x
        vars(self).update(more)


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


@dataclasses.dataclass
class Pair:
    x: object
    y: object


class Shapes:
    """A repr that tells shapes only."""

    def __init__(self, x):
        self.x = x

    def __repr__(self):
        return f"Shapes(x={list(self.x.shape)})"


class Color(enum.Enum):
    RED = 1
    BLUE = 2


Marker = enum.Enum("Marker", {"BEGIN": object(), "END": object()})


def ring(x):
    parent = Graph(x)
    parent.child = Graph(1, parent=parent)
    return parent


def double(x):
    return 2 * x


V, W = torch.arange(3.0), torch.arange(3.0) + 1

OTHERS = {
    "object": (lambda: Graph(V), lambda: Graph(W)),
    "object in a list": (lambda: [Graph(V), 3], lambda: [Graph(W), 3]),
    "object in an object": (lambda: Graph(Graph(V)), lambda: Graph(Graph(W))),
    "object with a set": (lambda: Graph({"a", "b", "c"}), lambda: Graph({"a", "b", "d"})),
    "object with a long tensor": (
        lambda: Graph(torch.arange(9999)),
        lambda: Graph(torch.arange(9999) // 5000),
    ),
    "slots": (lambda: Slotted(V), lambda: Slotted(W)),
    "dataclass": (lambda: Pair(V, Graph(1)), lambda: Pair(V, Graph(2))),
    "repr of shapes": (lambda: Shapes(V), lambda: Shapes(W)),
    "namespace": (lambda: types.SimpleNamespace(x=V), lambda: types.SimpleNamespace(x=W)),
    "ring": (lambda: ring(1), lambda: ring(2)),
    "class": (lambda: Graph(V), lambda: Shapes(V)),
    "set": (lambda: {"a", "b", "c"}, lambda: {"a", "b"}),
    "set of tuples": (lambda: {("a", 1), ("b", 2)}, lambda: {("a", 2), ("b", 1)}),
    "frozenset in a set": (lambda: {frozenset("ab"), frozenset("cd")}, lambda: {frozenset("ac")}),
    "keys that are objects": (lambda: {Color.RED: 1, Color.BLUE: 2}, lambda: {Color.RED: 2, Color.BLUE: 1}),
    "object array": (lambda: np.array([Graph(V), None]), lambda: np.array([Graph(W), None])),
    "sparse": (lambda: torch.eye(3).to_sparse(), lambda: 2 * torch.eye(3).to_sparse()),
    "sparse of another size": (
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse().sparse_resize_((3, 4), 2, 0),
    ),
    "csr": (lambda: torch.eye(3).to_sparse_csr(), lambda: torch.eye(3).flip(0).to_sparse_csr()),
    "csc": (lambda: torch.eye(3).to_sparse_csc(), lambda: torch.eye(3).flip(0).to_sparse_csc()),
    "sparse in an object": (
        lambda: Graph(torch.eye(3).to_sparse()),
        lambda: Graph(torch.ones(3, 3).to_sparse()),
    ),
    "float8": (lambda: V.to(torch.float8_e4m3fn), lambda: W.to(torch.float8_e4m3fn)),
    "conjugate": (lambda: torch.tensor([1 + 2j]).conj(), lambda: torch.tensor([1 + 2j])),
    "needs a gradient": (lambda: V.clone().requires_grad_(), lambda: W.clone().requires_grad_()),
    "image": (lambda: Image.new("L", (4, 4), 3), lambda: Image.new("L", (4, 4), 4)),
    "image in an object": (
        lambda: Graph(Image.new("L", (4, 4), 3)),
        lambda: Graph(Image.new("L", (4, 4), 4)),
    ),
    "series": (lambda: pd.Series([1.0, 2.0]), lambda: pd.Series([1.0, 3.0])),
    "row of text": (lambda: pd.Series(["a", "b"]), lambda: pd.Series(["a", "c"])),
    "deque": (lambda: collections.deque([Graph(V)]), lambda: collections.deque([Graph(W)])),
    "ordered": (lambda: collections.OrderedDict(a=Graph(V)), lambda: collections.OrderedDict(a=Graph(W))),
    "partial": (lambda: functools.partial(double, 2), lambda: functools.partial(double, 3)),
    "function": (lambda: Graph(double), lambda: Graph(ring)),
    "method": (lambda: Graph(Graph(V).__init__), lambda: Graph(Graph(W).__init__)),
    "enum of objects": (lambda: Marker.BEGIN, lambda: Marker.END),
    "enum": (lambda: Color.RED, lambda: Color.BLUE),
    "path": (lambda: pathlib.PurePosixPath("a/b"), lambda: pathlib.PurePosixPath("a/c")),
    "date": (lambda: datetime.date(2020, 1, 1), lambda: datetime.date(2020, 1, 2)),
    "fraction": (lambda: Fraction(1, 3), lambda: Fraction(1, 4)),
    "bytes": (lambda: b"abc", lambda: b"abd"),
}


@pytest.mark.filterwarnings("ignore:Sparse")  # torch says so once, whoever makes one first
@pytest.mark.parametrize(("one", "other"), OTHERS.values(), ids=OTHERS)
def test_equal_content_has_equal_bytes_and_other_content_others(one, other):
    kept = one(), one()  # both alive, so their addresses differ
    assert content(kept[0]) == content(kept[1])
    assert content(one()) != content(other())


def test_a_member_of_an_enum_counts_by_its_name_where_its_value_is_an_object():
    again = enum.Enum("Marker", {"BEGIN": object(), "END": object()})  # as another process has it
    assert content(again.BEGIN) == content(Marker.BEGIN)


def test_the_same_object_twice_is_told_from_two_of_the_same_content_only_by_order():
    shared = Graph(V)
    assert content([shared, shared]) == content([shared, shared])
    assert content([Graph(V), Graph(W)]) != content([Graph(W), Graph(V)])


def test_what_cannot_be_pickled_counts_by_its_class():
    assert content(Graph(V, lock=threading.Lock())) == content(Graph(V, lock=threading.Lock()))
    assert content(Graph(V, lock=threading.Lock())) != content(Graph(W, lock=threading.Lock()))
    assert content(Graph(V, many=iter([1]))) == content(Graph(V, many=iter([1])))
    assert content(Graph(x for x in "ab")) == content(Graph(x for x in "cd"))


@pytest.mark.filterwarnings("ignore:Sparse")
def test_unordered_sparse_entries_are_the_same_content():
    places, values = torch.tensor([[0, 1], [1, 0]]), torch.tensor([1.0, 2.0])
    one = torch.sparse_coo_tensor(places, values, (2, 2))
    assert content(one) == content(torch.sparse_coo_tensor(places.flip(1), values.flip(0), (2, 2)))


def test_a_sample_that_is_nested_without_end_counts_by_its_class():
    loop = []
    loop.append(loop)
    assert fingerprint([loop, 1], None) == fingerprint([[loop], 1], None)
    assert fingerprint([loop, 1], None) != fingerprint([loop, 2], None)


PROGRAM = """
import torch, sys
from types import SimpleNamespace
from samplewise.data.dataset import fingerprint
class Node:
    def __init__(self, x): self.x, self.names, self.up = x, {"ab", "cd", "ef", x}, self
def made(i):
    x = str(i)
    return [Node(x), {Node, made}, {("k", x): {x, "y", "z"}}, SimpleNamespace(f=lambda: 0, s={x, "q", "r"}),
            frozenset({x, "s", "t", "u"}), torch.eye(2).to_sparse(), object(),
            {frozenset({x, "w"}), frozenset({"v"})}]
print(fingerprint([made(i) for i in range(9)], None))
"""


def test_the_fingerprint_is_the_same_in_every_process():
    told = set()
    for seed in ("0", "1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        )
        assert ran.returncode == 0, ran.stderr
        told.add(ran.stdout)
    assert len(told) == 1


def test_samples_of_plain_kinds_keep_the_fingerprint_they_had():
    """Files that were written before must go on fitting: bytes of arrays, sorted keys, reprs of values."""
    sample = ({"y": 2, "x": np.ones(3, dtype=np.float32)}, [1.5, "a", None], b"z", np.int64(4), V)
    digest = hashlib.sha256(b"1")
    for part in (b"x", b"float32(3,)", np.ones(3, dtype=np.float32).tobytes(), b"y", b"2"):
        digest.update(part)
    for part in (
        b"1.5",
        b"'a'",
        b"None",
        b"b'z'",
        np.int64(4).tobytes(),
        b"float32(3,)",
        V.numpy().tobytes(),
    ):
        digest.update(part)
    assert fingerprint([sample], None) == digest.hexdigest()
