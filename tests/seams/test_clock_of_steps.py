"""What enters the ledger's seconds, by a clock that the test itself moves; and the seeds of workers."""

import pytest
import torch

import samplewise as sw
from samplewise.distributed import collectives

LOADING, FORWARD = 1.0, 2.0
"""Seconds that a sample takes to load, and that a step takes."""


class Slow:
    """Samples that take their time to load."""

    def __init__(self, clock, n=8):
        self.clock, self.n = clock, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.clock.now += LOADING
        return torch.full((2,), float(i))


def test_ordinary_training_waits_for_its_data_too(clock):
    def forward(x):
        clock.now += FORWARD
        return x.sum(1)

    selector = sw.Selector("full", Slow(clock), forward, epochs=1, batch_size=4)
    for batch in selector.loader():
        selector.loss(batch)
    ledger = selector.ledger
    assert ledger.seconds["data"] == 8 * LOADING
    assert ledger.seconds["training"] == 2 * FORWARD
    assert ledger.plain_seconds == 8 * LOADING + 2 * FORWARD
    # A run that is ordinary training saves nothing by its own estimate.
    assert ledger.realised == 0


class Seeds:
    """A sample is the seed of the worker that loads it."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return torch.initial_seed()


def seen(rank, monkeypatch):
    """The seeds of the worker in each of two epochs, on a process of this number."""
    monkeypatch.setattr(collectives, "rank", lambda: rank)
    selector = sw.Selector("full", Seeds(), lambda data: data.float(), epochs=2, batch_size=4)
    return [{int(seed) for batch in selector.loader(num_workers=1) for seed in batch.data} for _ in range(2)]


@pytest.mark.filterwarnings("ignore:epoch 0 ended without")
def test_workers_have_another_seed_in_every_epoch_and_on_every_process(monkeypatch):
    seeds = [*seen(0, monkeypatch), *seen(1, monkeypatch)]
    assert all(len(of_epoch) == 1 for of_epoch in seeds)
    assert len(set.union(*seeds)) == 4
    assert seen(0, monkeypatch) == seeds[:2]
