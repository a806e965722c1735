"""Message passing over a graph of samples: scores gather forward, and each pick lowers its neighbors."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from samplewise.pickers.greedy.neighbors import Graph

__all__ = ["gathered", "pick_by_messages"]


def gathered(scores: Float[Tensor, " m"], graph: Graph, gamma: float) -> Float[Tensor, " m"]:
    """One forward pass of messages: each score plus exp(-gamma d^2) times that of every neighbor.

    >>> pair = Graph(torch.tensor([0, 1, 2]), torch.tensor([1, 0]), torch.zeros(2).double())
    >>> gathered(torch.tensor([1.0, 2.0]), pair, gamma=1.0)
    tensor([3., 3.], dtype=torch.float64)
    """
    scores = scores.double()
    ends = torch.arange(len(scores)).repeat_interleave(graph.starts.diff())
    messages = (-gamma * graph.squares).exp() * scores[graph.others]
    return scores.index_add(0, ends, messages)


def pick_by_messages(scores: Float[Tensor, " m"], graph: Graph, gamma: float, k: int) -> Int[Tensor, " k"]:
    """The first k rows in the order of picking: the highest score, then reverse messages to its neighbors.

    A pick takes exp(-gamma d^2) times its score from every neighbor that is not picked. Equal scores: the
    lower row. Time O(k m).

    >>> pair = Graph(torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0]), torch.zeros(2).double())
    >>> pick_by_messages(torch.tensor([2.0, 3.0, 1.0]), pair, 1.0, 2)
    tensor([1, 2])
    """
    left = scores.double().numpy().copy()
    starts, others = graph.starts.tolist(), graph.others.numpy()
    shares = (-gamma * graph.squares).exp().numpy()
    order = np.empty(k, dtype=np.int64)
    for i in range(k):
        pick = int(left.argmax())
        order[i] = pick
        edges = slice(starts[pick], starts[pick + 1])
        left[others[edges]] -= shares[edges] * left[pick]  # minus infinity, of a picked one, stays
        left[pick] = -np.inf
    return torch.from_numpy(order)
