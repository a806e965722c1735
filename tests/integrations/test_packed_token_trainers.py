"""Trainers that choose tokens in packed rows equal those with padded rows."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorWithFlattening, Trainer

import samplewise as sw
from samplewise.integrations.transformers import make_selective
from tests.integrations.test_packed_trainers import FREE, TOKENS, greedy
from tests.integrations.test_trl import N, built, llama, pytestmark, quick_training, tokenizer
from tests.integrations.trainer_runs import arguments, collate, sentences, weights
from tests.integrations.trainer_runs import llama as small

__all__ = ["pytestmark", "quick_training", "tokenizer"]

METHODS = ["token_topk", "token_random", "rho_tokens"]


def policy_of(name, reference):
    given = {"reference": reference} if name == "rho_tokens" else {}
    return sw.recipes.get(name)(**given, keep=0.4)


def end(trainer):
    """The weights after the training, and the counted tokens."""
    trainer.train()
    return weights(trainer), (trainer.selector.ledger.tokens, trainer.selector.ledger.tokens_trained)


def close(found, expected, start):
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-6)
    assert found[1] == expected[1]
    assert found[1][1] < found[1][0]
    assert not torch.allclose(found[0], start, rtol=0, atol=1e-4)


def other(tokenizer):
    """A model with other weights, as a reference. It uses a cache by default."""
    model = llama(tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(9)) * 4)
    assert model.config.use_cache
    return model


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_sft_without_padding_trains_the_tokens_of_sft_with_padding(name, accumulate, tokenizer, tmp_path):
    given = {"gradient_accumulation_steps": accumulate, "num_train_epochs": 2}
    ends = [
        end(make_selective(built(tmp_path, tokenizer, **given | more), policy_of(name, other(tokenizer))))
        for more in (FREE, {})
    ]
    close(*ends, weights(llama(tokenizer)))


def flattened(folder, policy, collator, **given):
    given = {"num_train_epochs": 2} | given
    trainer = Trainer(small(), arguments(folder, **given), train_dataset=sentences(), data_collator=collator)
    return end(make_selective(trainer, policy))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_a_trainer_with_flattened_rows_trains_the_tokens_of_padded_rows(name, accumulate, tmp_path):
    given = {"gradient_accumulation_steps": accumulate}
    ends = [
        flattened(tmp_path, policy_of(name, small(seed=1)), collator, **given)
        for collator in (DataCollatorWithFlattening(), collate)
    ]
    close(*ends, weights(small()))


def test_stored_losses_of_padded_rows_fit_sequences_of_flattened_rows(tmp_path):
    reference, path = small(seed=1), tmp_path / "ref.parquet"
    forward = sw.language_model(reference)
    sw.reference_losses(forward, sentences(), model=reference, out=path, batch_size=5, collate_fn=collate)
    found = flattened(tmp_path, sw.recipes.rho_tokens(path, keep=0.4), DataCollatorWithFlattening())
    expected = flattened(tmp_path, sw.recipes.rho_tokens(reference, keep=0.4), collate)
    close(found, expected, weights(small()))


def plain(policy, sequences, model):
    """The plain loop over padded batches of at most 48 tokens."""
    lengths = [len(row["input_ids"]) for row in sequences]

    def of(model):
        def forward(rows):
            found = [torch.tensor(row["input_ids"]) for row in rows]
            ids, labels = (pad_sequence(found, True, padding_value=value) for value in (0, -100))
            logits = model(input_ids=ids, attention_mask=labels.ne(-100).long()).logits
            return sw.token_outputs(logits, labels)

        return forward

    forward = of(model)
    forward.of = of
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    selector = sw.Selector(policy, len(lengths), forward, model=model, epochs=2, seed=42)
    for epoch in range(2):
        selector.plan(epoch)
        for ids in greedy(selector.sampler("global"), lengths, 48):
            loss = selector.loss(sw.Batch(torch.tensor(ids), sw.rows(sequences[i] for i in ids)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    selector.set_epoch(2)
    return weights(model), (selector.ledger.tokens, selector.ledger.tokens_trained)


@pytest.mark.parametrize("name", METHODS)
def test_packing_trains_the_tokens_of_the_sequences_of_its_rows(name, tokenizer, tmp_path):
    policy = policy_of(name, other(tokenizer))
    trainer = make_selective(built(tmp_path, tokenizer, **TOKENS, num_train_epochs=2), policy)
    found, sequences = end(trainer), list(trainer.selector.dataset)
    assert len(sequences) == N
    close(found, plain(policy, sequences, llama(tokenizer)), weights(llama(tokenizer)))
