"""Herding, facility location and matching pursuit from the papers' definitions, with explicit gradients."""

import math

import numpy as np
import torch
from coreset_runs import shown, softmax
from plain import count

CLASSES = 3


def samples(n, seed, d=5, classes=CLASSES):
    """Logits, targets and features of n samples as nested lists; the classes are of unequal size."""
    rng = np.random.default_rng(seed)
    targets = [int(y) for y in np.minimum(rng.integers(0, classes + 1, n), classes - 1)]
    logits = rng.normal(size=(n, classes)).round(3).tolist()
    features = np.maximum(rng.normal(size=(n, d)) + 0.3, 0).round(3).tolist()
    return logits, targets, features


def outputs(n, seed, **more):
    return shown(*samples(n, seed, **more))


def gradients(logits, targets, features):
    """The gradient of each sample's cross-entropy in the last layer: (p - e_y) outer (1, h), flat."""
    found = []
    for z, y, h in zip(map(softmax, logits), targets, features, strict=True):
        r = np.array(z) - np.eye(len(z))[y]
        found.append(np.outer(r, [1.0, *h]).ravel())
    return np.array(found)


def budgets(targets, keep):
    """Largest remainder: each class gets the floor of its share, the largest remainders one more."""
    k, n = count(len(targets), keep), len(targets)
    classes = sorted(set(targets))
    shares = [k * targets.count(c) for c in classes]
    quotas = {c: s // n for c, s in zip(classes, shares, strict=True)}
    by_remainder = sorted(range(len(classes)), key=lambda i: (-(shares[i] % n), i))
    for i in by_remainder[: k - sum(quotas.values())]:
        quotas[classes[i]] += 1
    return quotas


def by_class(targets, keep, picks):
    """`picks(members, quota)` for each class: {class: (ids in the order of picking, weights)}."""
    found = {}
    for c, quota in budgets(targets, keep).items():
        members = [i for i, y in enumerate(targets) if y == c]
        order, weights = picks(members, quota)
        found[c] = [members[j] for j in order], weights
    return found


def column(found, targets):
    """Minus the order of picking over all classes: by (i + 1) / class size, then the class number."""
    turns = [
        ((i + 1) / targets.count(c), c, sample)
        for c, (ids, _) in found.items()
        for i, sample in enumerate(ids)
    ]
    order = [float(-len(targets))] * len(targets)
    for turn, (*_, sample) in enumerate(sorted(turns)):
        order[sample] = float(-turn)
    return order


def weights_of(found):
    """{id: weight}, 0 replaced by the smallest positive one, mean 1."""
    raw = {i: w for ids, weights in found.values() for i, w in zip(ids, weights, strict=True)}
    smallest = min(w for w in raw.values() if w > 0)
    raw = {i: w or smallest for i, w in raw.items()}
    mean = math.fsum(raw.values()) / len(raw)
    return {i: w / mean for i, w in raw.items()}


def herd(features, k):
    features = np.array(features)
    mean, total, order = features.mean(0), np.zeros(features.shape[1]), []
    for i in range(k):
        away = [np.linalg.norm((i + 1) * mean - total - x) for x in features]
        order.append(min((j for j in range(len(features)) if j not in order), key=lambda j: away[j]))
        total = total + features[order[-1]]
    return order


def similarities(g):
    distances = np.linalg.norm(g[:, None] - g[None], axis=2)
    return distances.max() - distances


def locate(sim, k):
    """The pick with the largest F(S + j) = sum_i max sim, all of it computed anew each time."""
    order = []
    for _ in range(k):
        left = [j for j in range(len(sim)) if j not in order]
        order.append(max(left, key=lambda j: (round(sim[[*order, j]].max(0).sum(), 9), -j)))
    return order


def clusters(sim, order):
    sizes = [0] * len(order)
    for i in range(len(sim) if order else 0):
        near = [sim[j, i] for j in order]
        sizes[near.index(max(near))] += 1
    return sizes


def pursue(g, target, k, lam, eps):
    """Order of picking, weights, and how many picks were given up on the way."""
    order, weights, dropped = [], np.zeros(0), 0

    def free(members):
        a = g[members].T
        return np.linalg.solve(a.T @ a + lam * np.eye(len(members)), a.T @ target)

    while len(order) < k:
        rest = target - g[order].T @ weights
        if np.linalg.norm(rest) <= eps * np.linalg.norm(target):
            break
        left = [j for j in range(len(g)) if j not in order]
        best = max(left, key=lambda j: g[j] @ rest)
        if g[best] @ rest <= 1e-6 * max(abs(g @ target)):
            break
        order, weights = [*order, best], np.append(weights, 0.0)
        new = free(order)
        while (new <= 0).any():
            # As far as the first weight that reaches 0; its sample leaves.
            steps = [w / (w - v) if v <= 0 else math.inf for w, v in zip(weights, new, strict=True)]
            first = int(np.argmin(steps))
            weights = weights + steps[first] * (new - weights)
            order, weights = order[:first] + order[first + 1 :], np.delete(weights, first)
            dropped += 1
            new = free(order)
        weights = new
    return order, weights, dropped


def tensors(n, seed, **more):
    """Residuals and features as tensors."""
    made = outputs(n, seed, **more)
    residual = made.logits.softmax(1)
    residual[torch.arange(n), made.targets] -= 1
    return residual, made.features
