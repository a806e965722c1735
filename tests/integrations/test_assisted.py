"""Methods that see a batch's data, or fill their batches themselves, behind the Hugging Face Trainer."""

import pytest
import torch
import torch.nn.functional as F

import samplewise as sw
from tests.integrations.trainer_runs import BATCH, N, selective, trained_ids

pytestmark = pytest.mark.usefixtures("quick_training")


def words(data):
    """How often each token is there."""
    return F.one_hot(data["input_ids"], 30).float().sum(1)


def test_the_assistant_sees_the_data_and_other_rows_are_not_forwarded(tmp_path):
    trainer = selective(tmp_path, sw.recipes.auto_assist(base=0.1, inputs=words))
    rows = []
    trainer.model.register_forward_pre_hook(
        lambda module, inputs, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    ids = trained_ids(trainer)
    assert rows == [len(part) for part in ids]  # the Trainer's loss comes out of the same forward
    ledger = trainer.selector.ledger
    trained = sum(rows)
    assert ledger.samples_backpropagated == trained < 3 * N
    assert min(rows) >= 2
    assert ledger.scoring_forwards == 0
    assert ledger.forward_flops > 0
    steps = 3 * -(-N // BATCH)
    assert len(rows) == steps
    assert ledger.assistant_flops == 2 * 30 * 3 * N + 4 * 30 * trained
    weight = trainer.selector.state_dict()["engine"]["method"]["assistant"]["weight"]
    assert torch.count_nonzero(weight) > 0


def test_batches_padded_to_other_lengths_are_no_input(tmp_path):
    trainer = selective(tmp_path, "auto_assist")
    with pytest.raises(ValueError, match=r"must have the same width in every batch, got .* after"):
        trainer.train()


def test_a_trainer_fills_no_batches(tmp_path):
    with pytest.raises(
        ValueError, match=r"selective_backprop\(assemble=True\) cannot be used with a Trainer"
    ):
        selective(tmp_path, sw.recipes.selective_backprop(assemble=True))
