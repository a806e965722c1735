"""SFTTrainer whose sequences share rows: a small model or static scores choose, as a loop by hand does."""

import copy

import pytest
import torch

import samplewise as sw
from samplewise import pickers, signals, trackers
from samplewise.integrations.transformers import make_selective
from samplewise.policy import Policy
from tests.integrations.test_packed_trainers import FREE, TOKENS
from tests.integrations.test_trl import N, built, llama, pytestmark, quick_training, tokenizer
from tests.integrations.trainer_runs import trained_ids, weights

__all__ = ["pytestmark", "quick_training", "tokenizer"]


def one_by_one(model, sequences):
    """The sum of the losses of each sequence and the number of its tokens, each sequence alone."""
    found = []
    for words in sequences:
        ids = torch.tensor([words])
        logs = model(input_ids=ids, use_cache=False).logits.log_softmax(-1)
        found.append(-logs[0, :-1].gather(1, ids[0, 1:, None]).sum())
    return torch.stack(found), torch.tensor([len(words) - 1 for words in sequences])


def replayed(batches, small, rows):
    """What a loop by hand chooses from these ids with a small model. It trains on every second batch."""
    optimizer, chosen = torch.optim.SGD(small.parameters(), lr=0.1), []
    for number, ids in enumerate(batches):
        sums, tokens = one_by_one(small, [rows[i] for i in ids])
        keep = max(1, int(0.5 * len(ids) + 0.5))
        best = (sums / tokens).argsort(descending=True)[:keep]
        chosen.append([ids[row] for row in sorted(best.tolist())])
        if number % 2 == 0:
            optimizer.zero_grad()
            (sums / tokens).mean().backward()
            optimizer.step()
    return chosen


@pytest.mark.parametrize("given", [FREE, TOKENS], ids=["padding_free", "packing"])
def test_a_small_model_scores_the_sequences_of_rows(given, tokenizer, tmp_path):
    small = llama(tokenizer)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.mul_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(9)) * 4)
    alone, begun = copy.deepcopy(small), weights(small)
    scoring = sw.Scoring(scorer=sw.Scorer(small, every=2, lr=0.1, optimizer=torch.optim.SGD))
    trainer = built(tmp_path, tokenizer, **given, num_train_epochs=2)
    trainer = make_selective(trainer, sw.recipes.ordered_sgd(keep=0.5), scoring=scoring)
    came, marking = [], trainer.selection._marking

    def noting(batches, marks):
        for batch in marking(batches, marks):
            came.append(batch["samplewise_ids"].tolist())
            yield batch

    trainer.selection._marking = noting
    chosen = trained_ids(trainer)
    assert chosen == replayed(came, alone, trainer.selector.dataset["input_ids"])
    torch.testing.assert_close(weights(small), weights(alone))
    assert not torch.allclose(weights(small), begun, rtol=0, atol=1e-3)
    ledger = trainer.selector.ledger
    assert (ledger.scoring_forwards, ledger.cheap_scoring_forwards) == (0, 2 * N)


@pytest.mark.parametrize("given", [FREE, TOKENS], ids=["padding_free", "packing"])
def test_a_static_method_chooses_by_the_losses_after_an_epoch(given, tokenizer, tmp_path):
    hardest = Policy(
        signal=signals.loss, tracker=trackers.Last(), picker=pickers.TopK(0.5), source="pass", final=1
    )
    trainer = make_selective(built(tmp_path, tokenizer, **given, num_train_epochs=2), hardest)
    ids = [i for batch in trained_ids(trainer) for i in batch]
    full = make_selective(built(tmp_path, tokenizer, **given, num_train_epochs=1), "full")
    full.train()
    with torch.no_grad():
        sums, tokens = one_by_one(full.model.eval(), full.selector.dataset["input_ids"])
    expected = (sums / tokens).argsort(descending=True)[: N // 2 + 1].sort().values.tolist()
    assert sorted(ids[:N]) == [*range(N)]
    assert sorted(ids[N:]) == expected
    assert trainer.selector.ledger.scoring_forwards == N
