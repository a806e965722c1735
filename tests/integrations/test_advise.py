"""What each method would cost, for a Trainer and for a LightningModule."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader

import samplewise as sw
from samplewise.integrations import lightning, transformers
from tests.integrations import lightning_toys, trainer_runs
from tests.seams.toys import Tensors

QUICK = {"methods": ["loss_sampling"], "seconds": 0.1}


def trainer_of(tmp_path, kind=trainer_runs.Trainer, **given):
    args = trainer_runs.TrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=trainer_runs.BATCH,
        num_train_epochs=3,
        report_to=[],
        use_cpu=True,
    )
    data = trainer_runs.classes()
    return kind(trainer_runs.bert(), args, train_dataset=data, data_collator=trainer_runs.collate, **given)


@pytest.mark.parametrize("selective", [False, True])
def test_a_trainer_is_measured_and_stays_as_it_is(tmp_path, selective):
    trainer = trainer_of(tmp_path)
    if selective:
        trainer = transformers.make_selective(trainer, "infobatch")
    before = copy.deepcopy(trainer.model.state_dict())
    found = transformers.advise(trainer, **QUICK)
    assert (found.batch_size, found.epochs, found.n) == (trainer_runs.BATCH, 3, trainer_runs.N)
    ways = {row.scoring for row in found.rows if row.method == "loss_sampling"}
    assert {"full", "bf16", "every=2"} < ways
    assert any(way.startswith("first=") for way in ways)
    assert any(way.startswith("at=") for way in ways)
    assert trainer.optimizer is None
    assert not any("optimizer" in note for note in found.notes)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_trainer_with_a_loss_that_is_not_known_is_refused(tmp_path):
    trainer = trainer_of(tmp_path, compute_loss_func=lambda outputs, labels, **_: outputs.logits.sum())
    with pytest.raises(ValueError, match="compute_loss_func returns one loss for the whole batch"):
        transformers.advise(trainer, **QUICK)


def test_a_lightning_module_is_measured_with_its_optimizer():
    net, seen = lightning_toys.Net(), []
    forms = net.configure_optimizers

    def configured():
        seen.append(forms())
        return [seen[0]], [{"scheduler": None}]

    net.configure_optimizers = configured
    before = copy.deepcopy(net.state_dict())
    found = lightning.advise(net, net.outputs, DataLoader(Tensors(), batch_size=8), epochs=3, **QUICK)
    assert isinstance(found, sw.advice.result.Advice)
    assert len(seen) == 1
    assert not any("optimizer" in note for note in found.notes)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    given = torch.optim.Adam(net.parameters())
    lightning.advise(net, net.outputs, Tensors(), batch_size=8, epochs=3, optimizer=given, **QUICK)
    assert len(seen) == 1
    net.configure_optimizers = lambda: {"optimizer": given, "lr_scheduler": None}
    lightning.advise(net, net.outputs, Tensors(), batch_size=8, epochs=3, **QUICK)
