"""What a Trainer's collator may make beside rows: fields, and what belongs to the whole batch."""

import torch
from transformers import Trainer

from samplewise.integrations.transformers import make_selective
from tests.integrations.trainer_runs import built


class Choosing(torch.nn.Module):
    """Holds the texts and the mask of every forward against the ids that `x` says."""

    def __init__(self):
        super().__init__()
        self.layer, self.sizes = torch.nn.Linear(4, 1), []

    def forward(self, x, texts, mask, labels=None):
        named = [[f"{int(i)}{letter}" for i in x[:, 0]] for letter in "abcd"]
        assert texts == named
        assert mask.shape == (4, 4)
        self.sizes.append(len(x))
        each = self.layer(x)[:, 0].square()
        return {"loss": each.mean(), "each": each}


def test_fields_and_masks_as_long_as_the_batch_are_not_taken_for_rows(tmp_path):
    def gather(ids):
        texts = [[f"{i}{letter}" for i in ids] for letter in "abcd"]
        return {"x": torch.tensor(ids).float()[:, None].repeat(1, 4), "texts": texts, "mask": torch.eye(4)}

    model = Choosing()
    given = {"num_train_epochs": 1, "remove_unused_columns": False}
    args = built(tmp_path, per_device_train_batch_size=4, **given).args
    trainer = Trainer(model, args, train_dataset=list(range(19)), data_collator=gather)
    make_selective(trainer, "loss_sampling", per_sample_loss=lambda outputs, inputs: outputs["each"])
    trainer.train()
    assert {2, 4} <= set(model.sizes)
