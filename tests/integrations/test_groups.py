"""Groups in the Trainer: the same plans as the plain loop, with the group of a column."""

import pytest
import torch

import samplewise as sw
from tests.integrations.trainer_runs import BATCH, N, bert, classes, selective, trained_ids

pytestmark = pytest.mark.usefixtures("quick_training")

DOMAINS = ["web" if i % 4 else "code" for i in range(N)]


def test_a_trainer_divides_its_budget_by_a_column_of_its_data(tmp_path):
    policy = sw.recipes.random_dynamic(keep=0.5, period=1)
    groups = sw.Groups("domain", {"web": 1, "code": 1})
    settings = {"groups": groups}
    data = classes().add_column("domain", DOMAINS)
    trainer = selective(tmp_path, policy, settings=settings, model=bert(), data=data)
    ids = [i for batch in trained_ids(trainer) for i in batch]
    plain = sw.Selector(policy, data, epochs=3, batch_size=BATCH, seed=42, groups=groups)
    expected = []
    for epoch in range(3):
        plain.set_epoch(epoch)
        expected.extend(plain.sampler("global"))
    assert ids == expected
    # 13 of 26 samples, and only 7 are code: 6.5 for each, and the first group has the larger remainder.
    assert [sum(DOMAINS[i] == "code" for i in ids[e * 13 : e * 13 + 13]) for e in range(3)] == [7, 7, 7]


def test_groups_of_losses_remember_what_the_trainer_saw(tmp_path):
    policy = sw.recipes.random_dynamic(keep=0.5, period=1)
    settings = {"groups": sw.Groups(DOMAINS, "temperature", temperature=0.1)}
    trainer = selective(tmp_path, policy, settings=settings, model=bert())
    trained_ids(trainer)
    seen = trainer.selector.score("loss")
    assert torch.isfinite(seen).sum() > N / 2
    assert len(trainer.selector.ledger.selections) == 3
