"""Trainers with packed rows equal those with padded rows: the same choices, the same weights."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorWithFlattening, Trainer

import samplewise as sw
from samplewise.integrations.transformers import make_selective
from samplewise.integrations.transformers.packing import packing_of
from tests.integrations.test_trl import N, built, llama, pytestmark, quick_training, tokenizer
from tests.integrations.trainer_runs import arguments, chosen_by, collate, sentences, trained_ids, weights
from tests.integrations.trainer_runs import llama as small

__all__ = ["pytestmark", "quick_training", "tokenizer"]

RECIPES = ["full", "infobatch", "ordered_sgd", "eswp"]
FREE = {"padding_free": True, "max_length": None}


def ids_and_weights(trainer):
    return trained_ids(trainer), weights(trainer)


def close(ours, theirs, start):
    assert ours[0] == theirs[0]
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-6)
    assert not torch.allclose(ours[1], start, rtol=0, atol=1e-4)


@pytest.mark.parametrize("recipe", RECIPES)
def test_sft_without_padding_equals_sft_with_padding(recipe, tokenizer, tmp_path):
    free = make_selective(built(tmp_path, tokenizer, **FREE), recipe)
    widths = []
    free.model.register_forward_pre_hook(
        lambda module, args, given: widths.append(given["input_ids"].shape), with_kwargs=True
    )
    padded = make_selective(built(tmp_path, tokenizer), recipe)
    close(ids_and_weights(free), ids_and_weights(padded), weights(llama(tokenizer)))
    assert {rows for rows, _ in widths} == {1}
    assert free.state.max_steps == padded.state.max_steps


@pytest.mark.parametrize(
    "given",
    [{"gradient_accumulation_steps": 3}, {"gradient_checkpointing": True}],
    ids=lambda given: next(iter(given)),
)
def test_sft_without_padding_accumulates_and_checkpoints(given, tokenizer, tmp_path):
    free = make_selective(built(tmp_path, tokenizer, **FREE | given), "eswp")
    padded = make_selective(built(tmp_path, tokenizer, **given), "eswp")
    close(ids_and_weights(free), ids_and_weights(padded), weights(llama(tokenizer)))


def adapted(folder, tokenizer, recipe, **given):
    """The chosen ids of a training of LoRA adapters, their weights after it, and those before."""
    torch.manual_seed(5)
    modules = ["q_proj", "v_proj"]
    adapters = LoraConfig(r=2, target_modules=modules, init_lora_weights=False, task_type="CAUSAL_LM")
    extra = {"peft_config": adapters}
    trainer = make_selective(built(folder, tokenizer, extra=extra, **given), recipe)
    whole = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    noted = trained_ids(trainer)
    before, after = [], []
    for name, value in trainer.model.named_parameters():
        if "lora" in name:
            before.append(whole[name].flatten())
            after.append(value.detach().flatten())
        else:
            assert torch.equal(value, whole[name])
    return noted, torch.cat(after), torch.cat(before)


@pytest.mark.parametrize("recipe", ["infobatch", "eswp"])
def test_adapters_train_without_padding_as_with_it(recipe, tokenizer, tmp_path):
    noted, found, begun = adapted(tmp_path, tokenizer, recipe, **FREE)
    expected, there, _ = adapted(tmp_path, tokenizer, recipe)
    close((noted, found), (expected, there), begun)


def flattened(folder, recipe, collator, **given):
    trainer = Trainer(small(), arguments(folder, **given), train_dataset=sentences(), data_collator=collator)
    return make_selective(trainer, recipe)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("given", [{}, {"gradient_accumulation_steps": 3, "label_smoothing_factor": 0.1}])
def test_a_trainer_with_flattened_batches_equals_one_that_pads(recipe, given, tmp_path):
    flat = flattened(tmp_path, recipe, DataCollatorWithFlattening(), **given)
    padded = flattened(tmp_path, recipe, collate, **given)
    close(ids_and_weights(flat), ids_and_weights(padded), weights(small()))


def test_a_model_whose_sequences_see_each_other_is_refused(tmp_path):
    trainer = flattened(tmp_path, "eswp", DataCollatorWithFlattening(), use_cache=True)
    with pytest.raises(
        ValueError, match=r"must not see each other, .* Set TrainingArguments\(use_cache=False"
    ):
        trainer.train()


def test_a_head_on_a_layer_is_refused(tmp_path):
    trainer = Trainer(
        small(), arguments(tmp_path), train_dataset=sentences(), data_collator=DataCollatorWithFlattening()
    )
    scoring = sw.Scoring(at="model.layers.0")
    trainer = make_selective(trainer, sw.recipes.ordered_sgd(keep=0.5), scoring=scoring)
    with pytest.raises(ValueError, match=r"Scoring\.at needs one sequence in each row"):
        trainer.train()


# ---------------------------------------------------------------------------------- packing=True

TOKENS = {"packing": True, "max_length": 24, "per_device_train_batch_size": 2}


def greedy(order, lengths, tokens):
    """Batches of the next sequences that fit, in plain Python."""
    batches, used = [[]], 0
    for i in order:
        if batches[-1] and used + lengths[i] > tokens:
            batches.append([])
            used = 0
        batches[-1].append(i)
        used += lengths[i]
    return batches


def plain(recipe, sequences, model, epochs=3):
    """The plain loop over batches of at most 48 tokens, padded."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    counts = []

    def forward(rows):
        found = [torch.tensor(row["input_ids"]) for row in rows]
        ids = pad_sequence(found, batch_first=True)
        mask = pad_sequence([torch.ones_like(row) for row in found], batch_first=True)
        logs = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
        terms = -logs[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2) * mask[:, 1:]
        counts[:] = [mask[:, 1:].sum(1)]
        return terms.sum(1) / counts[0]

    lengths = [len(row["input_ids"]) for row in sequences]
    selector = sw.Selector(recipe, len(lengths), forward, model=model, epochs=epochs, seed=42)
    noted, batches = chosen_by(selector), 0
    for epoch in range(epochs):
        selector.plan(epoch)
        for ids in greedy(selector.sampler("global"), lengths, 48):
            batches += 1
            kept = selector.narrow(sw.Batch(torch.tensor(ids), sw.rows(sequences[i] for i in ids)))
            losses = forward(kept.data)
            optimizer.zero_grad()
            ((selector.weigh(losses) * losses * counts[0]).sum() / counts[0].sum()).backward()
            optimizer.step()
    return noted, weights(model), batches


@pytest.mark.parametrize("recipe", [*RECIPES, sw.recipes.random_dynamic(keep=0.5)], ids=str)
def test_packing_trains_on_the_sequences_of_its_rows(recipe, tokenizer, tmp_path):
    packing = built(tmp_path, tokenizer, **TOKENS)
    rows = packing.train_dataset
    parts = [length for row in rows["seq_lengths"] for length in row]
    assert len(parts) == N
    assert max(map(len, rows["seq_lengths"])) > 1
    trainer = make_selective(packing, recipe)
    noted = trained_ids(trainer)
    sequences = trainer.selector.dataset
    texts = {tuple(row) for row in built(tmp_path, tokenizer).train_dataset["input_ids"]}
    assert {tuple(row["input_ids"]) for row in sequences} == texts
    expected, found, steps = plain(recipe, list(sequences), llama(tokenizer))
    close((noted, weights(trainer)), (expected, found), weights(llama(tokenizer)))
    assert trainer.state.global_step == trainer.state.max_steps == steps
    assert trainer.state.epoch == trainer.selector.epoch == 3


def test_packing_accumulates_and_ends_its_schedule(tokenizer, tmp_path):
    given = TOKENS | {"gradient_accumulation_steps": 2, "lr_scheduler_type": "linear"}
    trainer = make_selective(built(tmp_path, tokenizer, **given), sw.recipes.random_dynamic(keep=0.5))
    noted = trained_ids(trainer)
    assert sum(map(len, noted)) == 3 * round(N * 0.5)
    assert trainer.lr_scheduler.get_last_lr()[0] == pytest.approx(0, abs=1e-9)
    assert trainer.state.epoch == 3


@pytest.mark.parametrize("recipe", ["infobatch", "eswp"])
def test_a_resumed_run_packs_the_same_batches(recipe, tokenizer, tmp_path):
    save = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": 9}
    whole = make_selective(built(tmp_path, tokenizer, **TOKENS | save), recipe)
    noted = trained_ids(whole)
    again = make_selective(built(tmp_path, tokenizer, **TOKENS | save), recipe)
    rest = trained_ids(again, resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert noted[3:] == rest
    assert torch.equal(weights(whole), weights(again))
    assert again.state.global_step == whole.state.global_step


def packed_rows(labels):
    """Two packed rows: sequences of 3, 1 and 2 tokens, and of 2 and 4."""
    return Dataset.from_dict(
        {
            "input_ids": [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]],
            "labels": labels,
            "seq_lengths": [[3, 1, 2], [2, 4]],
        }
    )


PACKS = SimpleNamespace(packing=True, packing_strategy="bfd", max_length=6)


def test_sequences_without_a_trained_token_are_no_samples():
    """The label of a first token trains nothing: no token before it predicts it."""
    packing = packing_of(PACKS, packed_rows([[1, -100, 3, 4, 5, -100], [-100, 8, 9, -100, -100, 12]]), 1)
    assert packing.dataset[:] == {
        "input_ids": [[1, 2, 3], [7, 8], [9, 10, 11, 12]],
        "labels": [[1, -100, 3], [-100, 8], [9, -100, -100, 12]],
    }
    assert (packing.lengths.tolist(), packing.tokens) == ([3, 2, 4], 6)


def test_data_without_a_trained_token_are_refused():
    with pytest.raises(ValueError, match="no sequence of the data set has a token that is trained"):
        packing_of(PACKS, packed_rows([[1, -100, -100, 4, 5, -100], [7, -100, 9, -100, -100, -100]]), 1)
