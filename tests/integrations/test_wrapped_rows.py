"""SFTTrainer with packing_strategy='wrapped': a sample is a row of the packed data set."""

import pytest
import torch

import samplewise as sw
from samplewise.integrations.transformers import make_selective
from tests.integrations.test_trl import BATCH, TEXTS, built, llama, pytestmark, quick_training, tokenizer
from tests.integrations.trainer_runs import trained_ids, weights

__all__ = ["pytestmark", "quick_training", "tokenizer"]

WRAPPED = {"packing": True, "packing_strategy": "wrapped", "max_length": 12, "num_train_epochs": 2}


@pytest.mark.parametrize("accumulate", [1, 3])
def test_full_trains_as_sft_does_on_the_same_rows(accumulate, tokenizer, tmp_path):
    given = WRAPPED | {"gradient_accumulation_steps": accumulate, "num_train_epochs": 1}
    ours, stock = (built(tmp_path, tokenizer, **given) for _ in range(2))
    rows = stock.train_dataset
    words = [word for text in TEXTS for word in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    assert [word for row in rows["input_ids"] for word in row] == words
    assert {len(row) for row in rows["input_ids"][:-1]} == {12} != {len(rows["input_ids"][-1])}
    order = list(sw.Selector("full", len(rows), epochs=1, batch_size=BATCH, seed=42).sampler("global"))
    stock.train_dataset, stock.args.train_sampling_strategy = rows.select(order), "sequential"
    stock.train()
    make_selective(ours, "full").train()
    torch.testing.assert_close(weights(ours), weights(stock), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(ours), weights(llama(tokenizer)), rtol=0, atol=1e-4)
    assert ours.state.global_step == stock.state.global_step


@pytest.mark.parametrize("name", ["ordered_sgd", "token_topk"])
def test_a_method_chooses_as_with_rows_that_nothing_packed(name, tokenizer, tmp_path):
    wrapped, plain = (built(tmp_path, tokenizer, **given) for given in (WRAPPED, {"num_train_epochs": 2}))
    rows = plain.train_dataset = wrapped.train_dataset
    noted, expected = (trained_ids(make_selective(trainer, name)) for trainer in (wrapped, plain))
    assert noted == expected
    assert torch.equal(weights(wrapped), weights(plain))
    assert max(map(len, noted)) <= BATCH
    ledger = wrapped.selector.ledger
    tokens = [sum(len(rows["input_ids"][i]) - 1 for i in ids) for ids in noted]
    assert ledger.tokens == sum(tokens)
    if name == "ordered_sgd":
        assert sum(map(len, noted)) < 2 * len(rows)
    else:
        assert ledger.tokens_trained == sum(count - int(0.4 * count + 1e-9) for count in tokens)
