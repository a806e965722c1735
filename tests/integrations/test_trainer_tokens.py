"""Methods that choose tokens in a Trainer: its own loss with keep=1, and the chosen tokens by hand."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers import Trainer

import samplewise as sw
from samplewise.integrations.transformers import make_selective
from tests.integrations.trainer_runs import arguments, bert, classes, collate, llama, sentences, weights

N, BATCH, EPOCHS = 26, 4, 2


def built(folder, policy=None, model=None, data=None, **given):
    model = llama() if model is None else model
    args = arguments(folder, **{"num_train_epochs": EPOCHS, "seed": 3} | given)
    trainer = Trainer(model, args, train_dataset=data or sentences(), data_collator=collate)
    return trainer if policy is None else make_selective(trainer, policy)


def trained(folder, policy, **given):
    trainer = built(folder, policy, **given)
    trainer.train()
    return trainer


def losses_of(model, batch):
    """The loss of every token that is predicted, with its place, in plain torch."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"]
    return {
        (r, c): F.cross_entropy(logits[r, c], labels[r, c + 1])
        for r in range(len(labels))
        for c in range(labels.shape[1] - 1)
        if labels[r, c + 1] != -100
    }


def by_hand(keep, accumulate, reference=None):
    """The same training without a Trainer: micro-batches of the same order, and tokens chosen in each."""
    model, data = llama(), sentences()
    planner = sw.Selector("full", data, epochs=EPOCHS, batch_size=BATCH, seed=3)
    tokens = chosen_tokens = 0
    for epoch in range(EPOCHS):
        planner.set_epoch(epoch)
        batches = list(torch.split(planner.timeline.order(), BATCH))
        for first in range(0, len(batches), accumulate):
            group = [collate([data[int(i)] for i in ids]) for ids in batches[first : first + accumulate]]
            items = sum(int((b["labels"][:, 1:] != -100).sum()) for b in group)
            for parameter in model.parameters():
                parameter.grad = None
            for batch in group:
                losses = losses_of(model, batch)
                with torch.no_grad():
                    less = dict.fromkeys(losses, 0.0) if reference is None else losses_of(reference, batch)
                above = {at: loss.item() - float(less[at]) for at, loss in losses.items()}
                k = len(losses) - math.floor((1 - keep) * len(losses) + 1e-9)
                chosen = sorted(losses, key=lambda at: (-above[at], at))[:k]
                loss = sum(losses[at] for at in chosen) / k * (len(losses) / items)
                loss.backward()
                tokens, chosen_tokens = tokens + len(losses), chosen_tokens + k
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.1 * parameter.grad
    return weights(model), (tokens, chosen_tokens)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", ["token_topk", "rho_tokens"])
def test_the_steps_are_those_by_hand(tmp_path, name, accumulate):
    reference = llama(seed=1).eval() if name == "rho_tokens" else None
    given = {} if reference is None else {"reference": reference}
    policy = sw.recipes.get(name)(**given, keep=0.4)
    trainer = trained(tmp_path, policy, gradient_accumulation_steps=accumulate)
    expected, counted = by_hand(0.4, accumulate, reference)
    torch.testing.assert_close(weights(trainer), expected, rtol=1e-4, atol=1e-6)
    ledger = trainer.selector.ledger
    assert (ledger.tokens, ledger.tokens_trained) == counted
    assert ledger.samples_backpropagated == EPOCHS * N
    assert ledger.cheap_scoring_forwards == (0 if reference is None else EPOCHS * N)
    assert (ledger.promised < 0) == (reference is not None)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", ["token_topk", "token_random", "rho_tokens"])
def test_all_tokens_are_full_bit_for_bit_and_the_stock_trainer(tmp_path, name, accumulate):
    given = {"reference": llama(seed=1)} if name == "rho_tokens" else {}
    more = {"gradient_accumulation_steps": accumulate}
    one = trained(tmp_path, sw.recipes.get(name)(**given, keep=1), **more)
    full = trained(tmp_path, "full", **more)
    assert torch.equal(weights(one), weights(full))
    assert one.selector.ledger.cost == full.selector.ledger.cost
    torch.testing.assert_close(weights(one), by_hand(1, accumulate)[0], rtol=1e-4, atol=1e-6)
    ledger = full.selector.ledger
    real = sum(sum(label != -100 for label in row[1:]) for row in sentences()["labels"])
    assert (ledger.tokens, ledger.tokens_trained) == (EPOCHS * real, EPOCHS * real)


def test_stored_reference_losses_choose_as_the_model(tmp_path):
    reference = llama(seed=1).eval()
    path = tmp_path / "ref.parquet"
    sw.reference_losses(
        sw.language_model(reference), sentences(), model=reference, out=path, batch_size=5, collate_fn=collate
    )
    stored = trained(tmp_path / "a", sw.recipes.rho_tokens(path, keep=0.4))
    ran = trained(tmp_path / "b", sw.recipes.rho_tokens(reference, keep=0.4))
    torch.testing.assert_close(weights(stored), weights(ran), rtol=1e-5, atol=1e-7)
    assert stored.selector.ledger.tokens_trained == ran.selector.ledger.tokens_trained
    assert stored.selector.ledger.prior_flops > 0 == stored.selector.ledger.cheap_flops


def test_a_changed_collator_is_refused(tmp_path):
    reference = llama(seed=1)
    path = tmp_path / "ref.parquet"
    sw.reference_losses(
        sw.language_model(reference), sentences(), model=reference, out=path, batch_size=5, collate_fn=collate
    )
    data = sentences().map(lambda row: {"labels": row["input_ids"]})
    with pytest.raises(ValueError, match="the reference losses are of other tokens for ids"):
        trained(tmp_path, sw.recipes.rho_tokens(path), data=data)


def test_a_resumed_run_chooses_the_same_tokens(tmp_path):
    policy = sw.recipes.token_random(keep=0.5)
    given = {"save_strategy": "steps", "save_steps": 9}
    whole = trained(tmp_path, policy, **given)
    again = built(tmp_path, policy, **given)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-9"))
    assert torch.equal(weights(whole), weights(again))
    assert again.selector.ledger.tokens_trained == whole.selector.ledger.tokens_trained


def test_a_classifier_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"token_topk chooses tokens, .* of a classifier"):
        built(tmp_path, "token_topk", model=bert(), data=classes())
