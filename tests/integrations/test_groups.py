"""Groups in the Trainer: the same plans as the plain loop, with the group of a column."""

import pytest
import torch

import samplewise as sw
from samplewise.integrations.transformers import make_selective
from tests.integrations.test_trl import TEXTS, built, tokenizer
from tests.integrations.trainer_runs import BATCH, N, bert, classes, selective, trained_ids

__all__ = ["tokenizer"]

pytestmark = [
    pytest.mark.usefixtures("quick_training"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*(flash|padding-free).*:UserWarning"),
]

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


def test_packing_refuses_groups_and_names_the_way_out(tokenizer, tmp_path):
    trainer = built(tmp_path, tokenizer, packing=True)
    listed = sw.Groups(["a", "b", "a"] * (len(TEXTS) // 3))
    for strategy, groups in [("bfd", "source"), ("bfd_split", listed), ("wrapped", listed)]:
        trainer.args.packing_strategy = strategy
        with pytest.raises(ValueError, match=r"groups cannot be used with packing=True\.") as refused:
            make_selective(trainer, "random_dynamic", groups=groups)
        assert "padding_free=True" in str(refused.value)
        assert "groups='source'" in str(refused.value)


def test_rows_without_padding_take_the_groups_of_a_column(tokenizer, tmp_path):
    sources = ["long" if "very" in text else "short" for text in TEXTS]
    trainer = built(tmp_path, tokenizer, columns={"source": sources}, padding_free=True, max_length=None)
    method = sw.recipes.random_dynamic(keep=0.4, period=1)
    shares = sw.Groups("source", {"long": 2, "short": 1})
    trainer = make_selective(trainer, method, groups=shares)
    noted = [i for ids in trained_ids(trainer) for i in ids]
    assert len(noted) == 18  # 6 of 15 in each of 3 epochs
    for epoch in range(3):
        assert [sources[i] for i in noted[epoch * 6 : epoch * 6 + 6]].count("long") == 4
