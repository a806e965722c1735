"""Plain Python, written from the papers' equations and sharing nothing with the library."""

import math
from collections import Counter

LOSSES = [  # 9 epochs of 8 samples, with ties
    [2.0, 1.5, 2.5, 0.5, 2.5, 1.0, 3.0, 0.25],
    [1.5, 1.5, 2.0, 0.5, 3.0, 0.75, 1.0, 0.25],
    [1.0, 1.75, 2.0, 0.25, 2.75, 0.5, 2.0, 0.125],
    [0.5, 2.0, 1.0, 0.25, 2.5, 0.5, 0.5, 0.0625],
    [0.25, 1.0, 1.0, 1.0, 2.5, 0.25, 1.5, 0.0625],
    [0.125, 1.25, 0.5, 0.125, 2.0, 0.25, 0.5, 2.0],
    [0.125, 0.5, 0.5, 0.0625, 2.0, 0.125, 1.0, 0.5],
    [0.0625, 0.5, 0.25, 0.0625, 1.5, 0.125, 0.25, 0.25],
    [0.0625, 0.25, 0.25, 0.0625, 1.0, 0.0625, 0.5, 0.125],
]
N, EPOCHS = 8, 9


def count(m, keep, least=0):
    """The budget: m - floor((1 - keep) m), never below `least` of m."""
    return min(m, max(least, m - math.floor((1 - keep) * m + 1e-9)))


def largest(scores, k):
    """The k largest, equal ones in the order of the samples."""
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return sorted(ranked[:k])


def inclusion(weights, k):
    """Probability of each to be among k drawn one after the other, P ~ weight among those left."""
    chances = [0.0] * len(weights)

    def draw(left, chosen, chance):
        if len(chosen) == k:
            for i in chosen:
                chances[i] += chance
            return
        total = sum(weights[i] for i in left)
        for i in left:
            if weights[i]:
                draw(left - {i}, chosen | {i}, chance * weights[i] / total)

    draw(frozenset(range(len(weights))), frozenset(), 1.0)
    return chances


def shares(draws):
    """How often each id was drawn, as a share of the draws."""
    counted = Counter(i for drawn in draws for i in drawn)
    return {i: times / len(draws) for i, times in counted.items()}


def close(observed, expected, draws):
    """Whether a frequency is within 4.5 standard deviations of a probability."""
    sd = math.sqrt(max(expected * (1 - expected), 1e-12) / draws)
    return abs(observed - expected) <= 4.5 * sd + 1e-12
