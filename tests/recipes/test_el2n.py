"""`el2n` (METHODS A4): the mean distance from the label over the first epochs, against plain loops."""

import math

import pytest
import torch
from coreset_runs import recorded
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from trajectories import (
    EPOCHS,
    LABELS,
    LOGITS,
    TARGETS,
    N,
    check_kept,
    hardest,
    outputs,
    probability,
    scored,
)

import samplewise as sw


def reference(epochs):
    scores = []
    for i in range(N):
        total = 0.0
        for epoch in epochs:
            squares = 0.0
            for c, p in enumerate(probability(epoch, i)):
                squares += (p - (1.0 if c == TARGETS[i] else 0.0)) ** 2
            total += math.sqrt(squares)
        scores.append(total / len(epochs))
    return scores


def test_the_scores_and_the_subsets_are_the_equations():
    for first in (None, 1, 3, EPOCHS):
        epochs = range(EPOCHS if first is None else first)
        selector, _ = scored(sw.recipes.el2n(first=first))
        check_kept(selector, "el2n", reference(epochs))


def test_ten_epochs_are_enough_of_a_longer_training():
    longer = LOGITS + LOGITS[::-1]
    selector, plans = scored(sw.recipes.el2n(keep=0.5), longer)
    expected = reference([*range(EPOCHS), EPOCHS - 1])
    assert selector.score().tolist() == pytest.approx(expected, rel=1e-4)
    assert [len(plan) for plan in plans] == [N] * 10 + [4] * 8


def test_the_coreset_trains_from_the_epoch_after_the_last_recorded():
    _, plans = scored(sw.recipes.el2n(keep=0.5, first=3))
    assert plans == [list(range(N))] * 3 + [hardest(reference(range(3)), 0.5)] * (EPOCHS - 3)


def test_more_epochs_than_the_training_has_are_refused_when_built():
    with pytest.raises(ValueError, match=r"Mean.first must fit into a training of 9 epochs, got 10"):
        scored(sw.recipes.el2n(first=10))
    with pytest.raises(ValueError, match=r"el2n.first must be >= 1, got 0"):
        sw.recipes.el2n(first=0)


@pytest.mark.parametrize("at", [0, 4, EPOCHS - 1])
def test_at_an_epoch_the_score_is_one_pass_over_all_samples(at):
    table = [outputs(logits, torch.arange(N)) for logits in LOGITS]
    selector, passes = recorded(sw.recipes.el2n(at=at), table, labels=LABELS)
    check_kept(selector, "el2n", reference([at]))
    assert passes == [at]
    # Training on everything until then, then a forward of each sample.
    assert selector.ledger.scoring_forwards == N
    assert selector.table().provenance["scoring"]["el2n"]["cost"] == N * (3 * at + 1)


def test_the_pass_is_in_eval_mode_after_that_many_epochs():
    n, keep = 20, 0.5
    x, y = torch.randn(n, 5, generator=torch.Generator().manual_seed(0)), torch.arange(n) % 3
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    expected = None

    def forward(batch):
        logits, targets = model(batch[0]), batch[1]
        return sw.Outputs(F.cross_entropy(logits, targets, reduction="none"), logits, targets)

    policy, data = sw.recipes.el2n(keep, at=2), TensorDataset(x, y)
    selector = sw.Selector(policy, data, forward, model=model, epochs=4, batch_size=7)
    loader = selector.loader()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for epoch in range(4):
        if epoch == 2:
            with torch.no_grad():
                p = model.eval()(x).softmax(1).tolist()
            model.train()
            hits = [[float(c == t) for c in range(3)] for t in y.tolist()]
            expected = [math.dist(row, hit) for row, hit in zip(p, hits, strict=True)]
        for batch in loader:
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
    assert selector.score().tolist() == pytest.approx(expected, rel=1e-4)


def test_the_mean_over_models_is_of_several_trainings():
    tables = []
    for shift in range(3):
        table = [outputs(LOGITS[(e + shift) % EPOCHS], torch.arange(N)) for e in range(EPOCHS)]
        tables.append(recorded(sw.recipes.el2n(at=2), table, labels=LABELS, seed=shift)[0].table())
    runs = [reference([2 + shift]) for shift in range(3)]
    mean = [sum(run[i] for run in runs) / 3 for i in range(N)]
    combined = sw.ScoreTable.combine(tables)
    assert combined["el2n"].tolist() == pytest.approx(mean, rel=1e-4)
    assert combined.subset("el2n", keep=0.5).ids.tolist() == hardest(mean, 0.5)
    assert combined.provenance["scoring"]["el2n"]["cost"] == 3 * N * (3 * 2 + 1)


def test_what_one_training_cannot_do_is_explained():
    for recipe in (sw.recipes.el2n, sw.recipes.grand):
        with pytest.raises(ValueError, match=r"no parameter 'models', only keep.* score --runs 10, or Score"):
            recipe(models=10)
    with pytest.raises(ValueError, match=r"el2n takes first or at, got first=3 and at=20"):
        sw.recipes.el2n(first=3, at=20)
    with pytest.raises(ValueError, match=r"el2n scores before epoch 20, but training has only 9 epochs"):
        sw.Selector(sw.recipes.el2n(at=20), N, epochs=EPOCHS)
