"""Trainers with packed rows equal those with padded rows: the same choices, the same weights."""

import pytest
import torch
from transformers import DataCollatorWithFlattening, Trainer

import samplewise as sw
from samplewise.integrations.transformers import make_selective
from tests.integrations.test_trl import built, llama, pytestmark, quick_training, tokenizer
from tests.integrations.trainer_runs import arguments, collate, sentences, trained_ids, weights
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
