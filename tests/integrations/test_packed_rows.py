"""Selection inside packed rows of a language model equals selection among padded rows."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorWithFlattening

import samplewise as sw
from samplewise import packed
from tests.integrations.trainer_runs import N, chosen_by, collate, llama, sentences, weights

BATCH, EPOCHS, WIDTH = 6, 3, 16
DATA = list(sentences())
RECIPES = ["full", "infobatch", "ordered_sgd", "eswp", sw.recipes.ucb(keep=0.5, period=1)]


def one_row(samples):
    """All samples in one row; positions restart."""
    return DataCollatorWithFlattening()(samples)


def one_row_with_ends(samples):
    return DataCollatorWithFlattening(return_seq_idx=True, return_flash_attn_kwargs=True)(samples)


def several_rows(samples):
    """Rows of at most `WIDTH` tokens, which take the samples in order. Padding goes on counting."""
    rows = [[]]
    for sample in samples:
        if sum(len(own["input_ids"]) for own in rows[-1]) + len(sample["input_ids"]) > WIDTH:
            rows.append([])
        rows[-1].append(sample)
    made = [{name: value[0] for name, value in one_row(row).items()} for row in rows]
    width = max(len(row["input_ids"]) for row in made)
    for row in made:
        last = int(row["position_ids"][-1])
        more = torch.arange(last + 1, last + 1 + width - len(row["input_ids"]))
        row["position_ids"] = torch.cat([row["position_ids"], more])
    filled = {"input_ids": 0, "labels": -100, "position_ids": 0}
    return {
        name: pad_sequence([row[name] for row in made], batch_first=True, padding_value=value)
        for name, value in filled.items()
    }


def padded_losses(model, batch):
    """The loss of each padded row, and its trained tokens."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    targets = batch["labels"][:, 1:]
    trained = targets.ne(-100)
    terms = -logits.log_softmax(-1)[:, :-1].gather(2, targets.clamp(min=0)[..., None]).squeeze(2) * trained
    return packed.Losses(terms.sum(1) / trained.sum(1), trained.sum(1))


def packed_losses(model, batch):
    logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
    return packed.losses(logits, batch)


def trained(recipe, losses, collating, parts=1, scoring=None):
    """A plain loop: the chosen ids of every batch, the weights after it, and the rows that were seen."""
    model = llama()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    widths = []

    def forward(batch):
        return losses(model, batch).mean

    selector = sw.Selector(
        recipe, DATA, forward, model=model, epochs=EPOCHS, batch_size=BATCH, seed=3, scoring=scoring
    )
    noted = chosen_by(selector)
    for _ in range(EPOCHS):
        for step, batch in enumerate(selector.loader(collate_fn=collating), 1):
            kept = selector.narrow(batch)
            widths.append((batch.data["input_ids"].shape, kept.data["input_ids"].shape))
            found = losses(model, kept.data)
            (found.over_tokens(selector.weigh(found.mean)) / parts).backward()
            if step % parts == 0:
                optimizer.step()
                optimizer.zero_grad()
    return noted, weights(model), selector, widths


@pytest.fixture(scope="module")
def padded():
    made = {}

    def of(recipe, **given):
        key = (recipe, *given.items())
        if key not in made:
            made[key] = trained(recipe, padded_losses, collate, **given)
        return made[key]

    return of


@pytest.mark.parametrize("collating", [one_row, one_row_with_ends, several_rows])
@pytest.mark.parametrize("recipe", RECIPES)
def test_packed_equals_padded(recipe, collating, padded):
    noted, found, selector, widths = trained(recipe, packed_losses, collating)
    expected, there, other, _ = padded(recipe)
    assert noted == expected
    assert recipe == "full" or sum(map(len, noted)) < EPOCHS * N
    torch.testing.assert_close(found, there, rtol=0, atol=1e-6)
    assert not torch.allclose(found, weights(llama()), rtol=0, atol=1e-3)
    if recipe != "full":
        torch.testing.assert_close(selector.score(), other.score(), rtol=1e-5, atol=1e-6, equal_nan=True)
    if collating is several_rows:
        assert any(before[0] > 1 for before, _ in widths)
    assert all(after[0] <= before[0] and after[1] <= before[1] for before, after in widths)


def test_packed_equals_padded_under_accumulation(padded):
    noted, found, *_ = trained("ordered_sgd", packed_losses, one_row, parts=2)
    expected, there, *_ = padded("ordered_sgd", parts=2)
    assert noted == expected
    torch.testing.assert_close(found, there, rtol=0, atol=1e-6)


def test_a_model_that_sees_other_sequences_has_other_losses():
    """The control: with a cache, models of transformers do not separate the sequences of a row."""
    model, row = llama(), one_row(DATA[:4])
    logits = model(input_ids=row["input_ids"], position_ids=row["position_ids"], use_cache=True).logits
    leaking, alone = packed.losses(logits, row), padded_losses(model, collate(DATA[:4]))
    assert leaking.tokens.equal(alone.tokens)
    assert not torch.allclose(leaking.mean, alone.mean, atol=1e-4)
    torch.testing.assert_close(packed_losses(model, row).mean, alone.mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("collating", [one_row, one_row_with_ends, several_rows])
def test_a_view_of_the_first_tokens_cuts_each_sequence(collating):
    seen = sw.views.first(4)(collating(DATA[:BATCH]))
    wanted = one_row([{name: value[:4] for name, value in row.items()} for row in DATA[:BATCH]])
    model, alone = llama(), packed_losses(llama(), wanted)
    assert max(map(len, (row["input_ids"] for row in DATA[:BATCH]))) > 4
    torch.testing.assert_close(packed_losses(model, seen), alone, rtol=1e-5, atol=1e-6)
    if collating is not several_rows:
        whole = collating([{name: value[:4] for name, value in row.items()} for row in DATA[:BATCH]])
        assert str(seen) == str(whole)


def test_scores_by_the_first_tokens_are_those_of_padded_rows():
    found = []
    for collating, losses in ((collate, padded_losses), (one_row_with_ends, packed_losses)):
        scoring = sw.Scoring(view=sw.views.first(4))
        found.append(trained("ordered_sgd", losses, collating, scoring=scoring))
    assert found[0][0] == found[1][0] != trained("ordered_sgd", packed_losses, one_row)[0]
