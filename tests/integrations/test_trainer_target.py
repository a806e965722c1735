"""`greats_last_layer` in the Trainer: the user's own loss gives what the last layer sees."""

import pytest
import torch
import torch.nn.functional as F

import samplewise as sw
from tests.integrations.trainer_runs import N, bert, classes, collate, selective, trained_ids


def last_layer(model):
    """A per-sample loss that also returns what the last layer sees."""
    seen = []
    model.classifier.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))

    def per_sample_loss(outputs, inputs):
        labels = inputs["labels"]
        loss = F.cross_entropy(outputs.logits, labels, reduction="none")
        head = model.classifier.weight.detach(), model.classifier.bias.detach()
        return sw.Outputs(loss, outputs.logits.detach(), labels, seen.pop().detach(), head)

    return per_sample_loss


def gradient(model, rows):
    """The gradient of the mean loss of some rows in the last layer, by autograd."""
    batch = collate(rows)
    loss = F.cross_entropy(model(**batch).logits, batch["labels"])
    parts = torch.autograd.grad(loss, list(model.classifier.parameters()))
    return torch.cat([part.flatten() for part in parts])


def test_the_trainer_chooses_towards_a_target_set(tmp_path):
    model, data = bert(), classes()
    target = [data[i] for i in (3, 7, 8, 20, 21)]
    mine = classes().select([3, 7, 8, 20, 21])
    settings = {
        "per_sample_loss": last_layer(model),
        "scoring": sw.Scoring(target=sw.Target(mine, collate=collate, batch_size=2)),
    }
    policy = sw.recipes.greats_last_layer(0.5)
    # With a learning rate of 0 the scores are those of the first weights.
    trainer = selective(
        tmp_path, policy, model=model, settings=settings, learning_rate=0.0, dataloader_drop_last=True
    )
    chosen = trained_ids(trainer)
    model.eval()
    towards = gradient(model, target)
    expected = torch.stack([gradient(model, [row]) @ towards for row in data])
    found = trainer.selector.score()
    known = ~found.isnan()
    assert known.sum() >= N - 2
    torch.testing.assert_close(found[known], expected[known], rtol=1e-3, atol=1e-6)
    steps = 3 * (N // 4)
    assert [len(ids) for ids in chosen] == [2] * steps
    assert trainer.selector.ledger.scoring_forwards == steps * (4 + 5)


def test_the_trainers_own_losses_have_no_last_layer(tmp_path):
    settings = {"scoring": sw.Scoring(target=sw.Target(classes(5), collate=collate))}
    trainer = selective(tmp_path, "greats_last_layer", settings=settings)
    with pytest.raises(ValueError, match="features"):
        trainer.train()
