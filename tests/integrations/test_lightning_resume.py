"""Lightning: a training resumes exactly after any batch; two processes share one plan."""

import os
import pickle

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

import samplewise as sw
from samplewise.integrations.lightning import SelectionCallback
from tests.integrations.lightning_toys import (
    GROWS,
    RECIPES,
    Net,
    Validating,
    assert_same_run,
    columns,
    fit,
    select,
    trainer_for,
)
from tests.seams.toys import N, Tensors

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]


class Saving(lightning.Callback):
    """Saves after every batch, and in the end of every epoch, before and after the selection closes it."""

    def __init__(self, folder, only=None):
        self.folder, self.only, self.steps, self.saved = folder, only, 0, {}

    def _save(self, trainer, net, name):
        if self.only is None or name in self.only:
            path = self.folder / f"{name}.ckpt"
            trainer.save_checkpoint(path)
            self.saved[name] = (path, len(net.trained))

    def on_train_batch_end(self, trainer, net, *_):
        self.steps += 1
        self._save(trainer, net, f"step {self.steps}")

    def on_validation_end(self, trainer, net):
        if not trainer.sanity_checking:
            self._save(trainer, net, f"validation {trainer.current_epoch}")

    def on_train_epoch_end(self, trainer, net):
        self._save(trainer, net, f"epoch {trainer.current_epoch}")


def resume(policy, path, kind=Net, helped=True, **settings):
    net = kind(dropout=0.0, helped=helped)
    return net, fit(policy, net, ckpt=path, **settings)


@pytest.mark.parametrize("name", ["infobatch", "kakurenbo", "eswp", "growing"])
def test_a_training_resumed_after_any_batch_ends_as_the_uninterrupted_one(name, tmp_path):
    policy = {"growing": GROWS, **RECIPES}[name]
    helped = name != "eswp"  # whose whole batches the callback then looks at itself
    whole, saving = Validating(dropout=0.0, helped=helped), Saving(tmp_path)
    loader = DataLoader(Tensors(8), 8)
    reference = fit(policy, whole, saving, epochs=3, validation=loader)
    assert len(saving.saved) == len(whole.trained) + 2 * 3
    for name, (path, done) in saving.saved.items():
        net, selector = resume(policy, path, Validating, helped, epochs=3, validation=loader)
        net.trained = whole.trained[:done] + net.trained
        assert net.trained == whole.trained, name
        assert_same_run(net, selector, whole, reference)
        assert selector.ledger.samples_backpropagated == reference.ledger.samples_backpropagated, name


def test_a_training_resumes_with_workers(tmp_path):
    whole, saving = Net(dropout=0.0), Saving(tmp_path, {"step 1", "step 6", "step 7", "epoch 1"})
    reference = fit(GROWS, whole, saving, epochs=3, workers=2)
    assert len(saving.saved) == 4
    for path, done in saving.saved.values():
        net, selector = resume(GROWS, path, epochs=3, workers=2)
        net.trained = whole.trained[:done] + net.trained
        assert_same_run(net, selector, whole, reference)


@pytest.mark.parametrize("late", [False, True], ids=["before set-up", "after set-up"])
def test_it_resumes_where_the_loader_was_asked_for_before_the_state_was_there(late, tmp_path):
    class Estimating(Net):
        def configure_optimizers(self):
            assert self.trainer.estimated_stepping_batches
            return super().configure_optimizers()

    class Late(lightning.pytorch.strategies.SingleDeviceStrategy):
        restore_checkpoint_after_setup = late

    whole, saving = Estimating(dropout=0.0), Saving(tmp_path, {"step 7"})
    reference = fit("infobatch", whole, saving)
    ((path, done),) = saving.saved.values()
    net = Estimating(dropout=0.0)
    selector = fit("infobatch", net, ckpt=path, strategy=Late(torch.device("cpu")))
    net.trained = whole.trained[:done] + net.trained
    assert_same_run(net, selector, whole, reference)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    net, saving = Net(), Saving(tmp_path, {"step 7"})
    fit("infobatch", net, saving)
    path, _ = saving.saved["step 7"]
    with pytest.raises(ValueError, match=r"recipes\.infobatch"):
        fit("full", Net(), ckpt=path)
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["callbacks"]["SelectionCallback"]
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match="written without a SelectionCallback"):
        fit("infobatch", Net(), ckpt=path)


def test_a_selector_ahead_of_the_trainer_is_refused():
    net = Net()
    selector = select("full", net)
    selector.set_epoch(2)
    with pytest.raises(ValueError, match="Trainer is in epoch 0, but the Selector is in epoch 2"):
        trainer_for(selector).fit(net, selector.loader())


class Malicious:
    def __reduce__(self):
        return os.mkdir, (os.environ["SAMPLEWISE_MALICE"],)


def test_a_malicious_checkpoint_does_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLEWISE_MALICE", str(tmp_path / "done"))
    net, saving = Net(), Saving(tmp_path, {"step 7"})
    fit("infobatch", net, saving)
    path, _ = saving.saved["step 7"]
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["callbacks"]["SelectionCallback"]["selector"]["seed"] = Malicious()
    torch.save(checkpoint, path)
    with pytest.raises(pickle.UnpicklingError):
        fit("infobatch", Net(), ckpt=path)
    assert not (tmp_path / "done").exists()


# --------------------------------------------------------------------------------- two processes


class Reporting(lightning.Callback):
    """Each process writes what it planned, trained on and remembers; one saves in the middle of epoch 2."""

    def __init__(self, folder, selector):
        self.folder, self.selector, self.plans = folder, selector, []

    def on_train_epoch_start(self, trainer, net):
        self.plans.append(self.selector.plan(trainer.current_epoch).ids.tolist())

    def on_train_batch_end(self, trainer, net, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (2, 0):
            trainer.save_checkpoint(self.folder / "middle.ckpt")

    def on_train_end(self, trainer, net):
        told = {
            "plans": self.plans,
            "trained": net.trained,
            "remembered": repr(columns(self.selector)),
            "weights": {name: tensor.clone() for name, tensor in net.state_dict().items()},
        }
        torch.save(told, self.folder / f"{trainer.global_rank}.pt")


def on_two_processes(folder, **where):
    folder.mkdir()
    net = Net(dropout=0.0)
    selector = select(sw.recipes.infobatch(keep=0.3), net)
    settings = {"devices": 2, "strategy": "ddp_fork", "use_distributed_sampler": False}
    trainer = trainer_for(selector, Reporting(folder, selector), **settings)
    trainer.fit(net, selector.loader(), **where)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_processes_share_a_plan_without_a_common_sample_and_resume(tmp_path):
    one, two = on_two_processes(tmp_path / "whole")
    assert one["plans"] == two["plans"]
    assert one["remembered"] == two["remembered"]
    for name, tensor in one["weights"].items():
        assert torch.equal(tensor, two["weights"][name]) or "running" in name  # batch norm's are its own
    sizes = [len(plan) for plan in one["plans"]]
    assert sizes[0] == N
    assert all(size < N for size in sizes[1:3])
    trained = [[], []]
    for told, flat in zip((one, two), trained, strict=True):
        steps = iter(told["trained"])
        for size in sizes:
            flat.append([i for _ in range(-(-(size // 2) // 8)) for i in next(steps)])
        assert not list(steps)
    for plan, mine, others in zip(one["plans"], *trained, strict=True):
        assert len(mine) == len(others) == len(plan) // 2
        assert not set(mine) & set(others)
        assert set(mine) | set(others) <= set(plan)
    again = on_two_processes(tmp_path / "again", ckpt_path=tmp_path / "whole" / "middle.ckpt")
    for told, before in zip(again, (one, two), strict=True):
        assert told["trained"] == before["trained"][-len(told["trained"]) :]
        assert told["remembered"] == before["remembered"]
        assert all(
            torch.equal(tensor, before["weights"][name])
            for name, tensor in told["weights"].items()
            if "running" not in name
        )


def test_two_callbacks_are_refused_by_name():
    net = Net()
    selector = select(RECIPES["infobatch"], net)
    trainer = trainer_for(selector)
    trainer.callbacks.append(SelectionCallback(selector))  # past Lightning's own check of its argument
    with pytest.raises(ValueError, match="must have one SelectionCallback"):
        trainer.fit(net, selector.loader())


def test_a_selector_that_has_trained_all_its_epochs_is_refused():
    net = Net(dropout=0.0)
    selector = fit(RECIPES["infobatch"], net)
    with pytest.raises(ValueError, match="the Selector has already trained all its 4 epochs"):
        trainer_for(selector).fit(net, selector.loader())
