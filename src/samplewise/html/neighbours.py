"""Redundancy as numbers: how alike samples are to their nearest neighbour in feature space."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Num

from samplewise.rng import generator

__all__ = ["Redundancy", "redundancy"]

ASKED = 2_000
"""Samples whose nearest neighbour is looked for."""
POOL = 50_000
"""Samples among which it is looked for."""
_AT_ONCE = 256


@dataclass(frozen=True)
class Redundancy:
    """Nearest neighbours of drawn samples.

    Attributes:
        asked: how many samples were drawn.
        pool: among how many their neighbours were looked for.
        alike: cosine similarity of each to its nearest neighbour (q,).
        pairs: (id, id, similarity) of the pairs that are most alike, each pair once.
    """

    asked: int
    pool: int
    alike: Float[np.ndarray, " q"]
    pairs: Sequence[tuple[int, int, float]]


def redundancy(features: Num[np.ndarray, "n d"], pairs: int = 6) -> Redundancy:
    """The nearest neighbours of up to `ASKED` samples among up to `POOL`, both drawn with a fixed seed.

    Args:
        features: a vector for each sample, by id. A vector of zeros is like no other.
        pairs: how many pairs to return.

    Raises:
        ValueError: with fewer than two samples.
    """
    n = len(features)
    if n < 2:
        raise ValueError(f"features must be of at least 2 samples, got {n}.")
    order = torch.randperm(n, generator=generator(0, "report neighbours")).numpy()
    pool = np.sort(order[:POOL])
    asked = np.sort(np.searchsorted(pool, order[: min(ASKED, len(pool))]))
    vectors = torch.nn.functional.normalize(torch.from_numpy(np.asarray(features[pool], dtype=np.float32)))
    best, nearest = np.zeros(len(asked)), np.zeros(len(asked), dtype=np.int64)
    for start in range(0, len(asked), _AT_ONCE):
        part = torch.from_numpy(asked[start : start + _AT_ONCE])
        alike = vectors[part] @ vectors.T
        alike[torch.arange(len(part)), part] = -torch.inf
        top = alike.max(1)
        best[start : start + len(part)] = top.values.double().clamp(-1, 1).numpy()
        nearest[start : start + len(part)] = top.indices.numpy()
    found: dict[tuple[int, int], float] = {}
    for i in np.argsort(-best, kind="stable").tolist():
        pair = sorted((int(pool[asked[i]]), int(pool[nearest[i]])))
        found.setdefault((pair[0], pair[1]), float(best[i]))
        if len(found) == pairs:
            break
    return Redundancy(len(asked), len(pool), best, [(*pair, value) for pair, value in found.items()])
