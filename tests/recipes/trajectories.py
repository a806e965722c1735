"""Eight samples of three classes through nine epochs, and a training on them by engine calls alone."""

import math

import torch
from torch.nn import functional as F

import samplewise as sw

N, CLASSES, EPOCHS = 8, 3, 9
TARGETS = [0, 1, 2, 0, 1, 2, 0, 1]
LABELS = torch.tensor(TARGETS)


def _logit(epoch, i, c):
    """Some learn fast, some slowly, 4 comes and goes, 6 never comes; 1 and 7 are the same."""
    i = 1 if i == 7 else i
    pull = {0: 0.9, 1: 0.5, 2: 0.3, 3: 0.2, 4: 2.5 * (-1) ** epoch, 5: 0.6 if epoch % 4 else -1.0, 6: -0.4}[i]
    hit = pull * (1 if i == 4 else epoch) if c == TARGETS[i] else 0.0
    return round(hit + 0.7 * math.sin(1.3 * epoch + 2.1 * i + 0.8 * c), 4)


LOGITS = [[[_logit(e, i, c) for c in range(CLASSES)] for i in range(N)] for e in range(EPOCHS)]


def softmax(row):
    exps = [math.exp(z - max(row)) for z in row]
    return [e / sum(exps) for e in exps]


def probability(epoch, i):
    return softmax(LOGITS[epoch][i])


def right(epoch, i):
    return max(range(CLASSES), key=lambda c: LOGITS[epoch][i][c]) == TARGETS[i]


def outputs(logits, ids):
    z = torch.tensor(logits)[ids]
    loss = F.cross_entropy(z, LABELS[ids], reduction="none")
    return sw.Outputs(loss=loss, logits=z, targets=LABELS[ids])


def scored(policy, logits=None, batch=3, epochs=None):
    """A selector after all epochs, each seen in another order; the plan of every epoch beside it."""
    logits = LOGITS if logits is None else logits
    epochs = len(logits) if epochs is None else epochs
    selector = sw.Selector(policy, N, epochs=epochs, labels=LABELS)
    plans = []
    for epoch in range(epochs):
        plan = selector.plan(epoch)
        plans.append(plan.ids.tolist())
        order = plan.ids[torch.arange(len(plan.ids)).roll(epoch)]
        for ids in order.split(batch):
            selector.observe(ids, outputs(logits[epoch], ids))
    selector.set_epoch(epochs)
    return selector, plans


def hardest(scores, keep):
    """The ids that the budget keeps: highest first, equal ones in the order of the samples."""
    k = N - math.floor((1 - keep) * N + 1e-9)
    return sorted(sorted(range(N), key=lambda i: (-scores[i], i))[:k])


def hardest_by_class(scores, keep):
    """The same inside every class, the budget divided by largest remainder."""
    k = N - math.floor((1 - keep) * N + 1e-9)
    sizes = [TARGETS.count(c) for c in range(CLASSES)]
    quotas = [size * k // N for size in sizes]
    remainders = sorted(range(CLASSES), key=lambda c: (-(sizes[c] * k % N), c))
    for c in remainders[: k - sum(quotas)]:
        quotas[c] += 1
    chosen = []
    for c, quota in enumerate(quotas):
        members = [i for i in range(N) if TARGETS[i] == c]
        chosen += sorted(members, key=lambda i: (-scores[i], i))[:quota]
    return sorted(chosen)


def check_kept(selector, name, scores):
    """The column of that name, and the subsets of several shares, over all samples and inside classes."""
    column = selector.score()
    torch.testing.assert_close(column, torch.tensor(scores), rtol=1e-3, atol=1e-5)
    assert torch.equal(selector.table().columns[name], column)
    ranked = [score if math.isinf(score) else round(score, 5) for score in scores]
    assert len(set(ranked)) >= 4  # else the order of the samples would decide everything
    for keep in (0.2, 0.5, 0.7):
        assert selector.subset(keep=keep).ids.tolist() == hardest(ranked, keep)
    for keep in (0.4, 0.5, 0.7):
        balanced = selector.subset(keep=keep, balance=True)
        assert balanced.ids.tolist() == hardest_by_class(ranked, keep)
