"""A training of a static recipe in which every pass and every epoch shows what a table says."""

import math

import torch

import samplewise as sw


def shown(logits, targets, features=None):
    """Outputs of all samples from nested lists."""
    z = torch.tensor(logits)
    y = torch.tensor(targets)
    h = None if features is None else torch.tensor(features)
    return sw.Outputs(torch.nn.functional.cross_entropy(z, y, reduction="none"), z, y, h)


def rows(outputs, ids):
    """The outputs of some samples."""
    parts = (outputs.loss, outputs.logits, outputs.targets, outputs.features)
    return sw.Outputs(*(None if part is None else part[ids] for part in parts))


def recorded(policy, table, cut=3, labels=None, seed=0):
    """A selector after training: `table[e]` is what epoch e shows, the pass before it as well."""
    n, epochs = len(table[0].loss), len(table) - 1
    selector = sw.Selector(policy, n, epochs=epochs, labels=labels, seed=seed)
    passes = []
    for epoch in range(epochs + 1):
        if epoch == epochs:
            selector.set_epoch(epochs)
        if selector.pass_due(epoch):
            passes.append(epoch)
            for ids in selector.pass_ids(epoch).split(cut):
                selector.observe(ids, rows(table[epoch], ids), source="pass")
        if epoch < epochs:
            for ids in selector.plan(epoch).ids.flip(0).split(cut):
                selector.observe(ids, rows(table[epoch], ids))
    return selector, passes


def softmax(z):
    top = max(z)
    exps = [math.exp(value - top) for value in z]
    return [e / sum(exps) for e in exps]
