"""The graph of nearest neighbors, and messages over it, against all distances and plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samplewise.pickers import greedy
from samplewise.pickers.greedy import neighbors


def plain_nearest(rows, k):
    """The k nearest others of each row, by exact integers or floats, in the order (distance, row)."""
    found = []
    for i, x in enumerate(rows):
        apart = [
            (sum((a - b) ** 2 for a, b in zip(x, y, strict=True)), j) for j, y in enumerate(rows) if j != i
        ]
        found.append([j for _, j in sorted(apart)[:k]])
    return found


def plain_edges(rows, k):
    """{(i, j): squared distance} of the undirected graph, both directions."""
    edges = {}
    for i, near in enumerate(plain_nearest(rows, k)):
        for j in near:
            square = sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True))
            edges[i, j] = edges[j, i] = square
    return edges


def edges_of(graph):
    ends = torch.arange(len(graph.starts) - 1).repeat_interleave(graph.starts.diff()).tolist()
    return dict(zip(zip(ends, graph.others.tolist(), strict=True), graph.squares.tolist(), strict=True))


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 6), st.integers(1, 3))
def test_the_nearest_are_exact_with_ties_and_duplicates(seed, m, k, d):
    rows = np.random.default_rng(seed).integers(0, 4, (m, d)).tolist()
    features = torch.tensor(rows).float()
    assert greedy.nearest(features, k).tolist() == plain_nearest(rows, k)
    assert edges_of(greedy.graph_of(features, k)) == plain_edges(rows, k)


@pytest.mark.parametrize("kind", ["far", "outlier", "copies", "grid", "tiny", "huge"])
def test_the_nearest_are_exact_where_products_in_float32_are_not(kind):
    rng = np.random.default_rng(1)
    x = rng.integers(-50, 50, (120, 5)).astype(float)
    if kind == "far":
        x += 2.0**20
    if kind == "outlier":
        x[7] = 2.0**22
    if kind == "copies":
        x = x[rng.integers(0, 3, 120)]
    if kind == "grid":
        x = np.indices((5, 5, 5)).reshape(3, -1).T[:120].astype(float)
    scale = {"tiny": 2.0**-130, "huge": 2.0**115}.get(kind, 1.0)
    features = torch.tensor(x * scale).float()
    assert greedy.nearest(features, 4).tolist() == plain_nearest(x.astype(int).tolist(), 4)


def test_many_blocks_of_rows_give_the_same(monkeypatch):
    features = torch.tensor(np.random.default_rng(2).normal(size=(90, 3))).float()
    whole = greedy.nearest(features, 3)
    monkeypatch.setattr(neighbors, "_ROWS", 7)
    assert torch.equal(greedy.nearest(features, 3), whole)
    assert whole.tolist() == plain_nearest(features.double().tolist(), 3)


def test_a_bound_that_is_not_enough_compares_a_row_with_all(monkeypatch):
    features = torch.tensor(np.random.default_rng(3).normal(size=(60, 3))).float()
    whole = plain_nearest(features.double().tolist(), 3)
    monkeypatch.setattr(neighbors, "_ROUNDING", 1.0)  # no candidate is ever sure
    assert greedy.nearest(features, 3).tolist() == whole
    monkeypatch.setattr(neighbors, "_SPARE", 0)
    assert greedy.nearest(features, 3).tolist() == whole


@pytest.mark.parametrize("m", [1, 2, 3])
def test_fewer_samples_than_neighbors_are_all_joined(m):
    features = torch.arange(m)[:, None].float()
    graph = greedy.graph_of(features, 5)
    assert sorted(edges_of(graph)) == [(i, j) for i in range(m) for j in range(m) if i != j]


def test_no_block_compares_all_rows_at_once(monkeypatch):
    """The largest array that a search makes has the rows of one block."""
    sizes = []
    plain_topk = torch.Tensor.topk

    def topk(self, *given, **named):
        sizes.append(self.shape)
        return plain_topk(self, *given, **named)

    monkeypatch.setattr(torch.Tensor, "topk", topk)
    greedy.nearest(torch.tensor(np.random.default_rng(4).normal(size=(1100, 4))).float(), 3)
    assert [tuple(size) for size in sizes] == [(512, 1100), (512, 1100), (76, 1100)]


@given(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from([0.0, 0.1, 1.0]), st.data())
def test_messages_are_those_of_plain_loops(seed, m, gamma, data):
    rng = np.random.default_rng(seed)
    rows, scores = rng.integers(0, 3, (m, 2)).tolist(), rng.integers(0, 4, m).tolist()
    k = data.draw(st.integers(1, m))
    graph, edges = greedy.graph_of(torch.tensor(rows).float(), 2), plain_edges(rows, 2)
    forward = [
        x + math.fsum(math.exp(-square) * scores[j] for (a, j), square in edges.items() if a == i)
        for i, x in enumerate(scores)
    ]
    found = greedy.gathered(torch.tensor(scores).float(), graph, 1.0)
    assert found.tolist() == pytest.approx(forward)
    left, order = found.tolist(), []
    for _ in range(k):
        pick = max((i for i in range(m) if i not in order), key=lambda i: (left[i], -i))
        order.append(pick)
        for (a, j), square in edges.items():
            if a == pick and j not in order:
                left[j] -= math.exp(-gamma * square) * left[pick]
    assert greedy.pick_by_messages(found, graph, gamma, k).tolist() == order
