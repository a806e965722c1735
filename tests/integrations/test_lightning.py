"""Lightning: the same choices and weights as the plain loop, whole epochs, exact resume, early refusals."""

import copy
import functools
import itertools
import pickle
import re
import subprocess
import sys

import lightning
import pytest
import pytorch_lightning
import torch
from torch.utils.data import DataLoader

import samplewise as sw
from samplewise.integrations.lightning import SelectionCallback, weighted_mean
from samplewise.loop.ids import IdCollate, IdDataset
from samplewise.pickers import Uniform
from samplewise.schedules import Linear
from tests.integrations.lightning_toys import (
    GROWS,
    RECIPES,
    Net,
    OldNet,
    Validating,
    assert_same_run,
    columns,
    fit,
    loop,
    select,
    trainer_for,
)
from tests.seams.toys import N, Tensors

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]
UNTOUCHED = ("full", "random_dynamic", "ucb", "loss_sampling", "ordered_sgd", "evolved_sampling", "eswp")
"""Recipes for which training_step needs no helper."""
SHRINKS = sw.Policy(picker=Uniform(Linear(1.0, 0.2)))


# --------------------------------------------------------------------- the same as the plain loop


@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_on_the_samples_of_the_plain_loop_and_ends_with_its_weights(name):
    net, plain = Net(), Net()
    selector = fit(RECIPES[name], net)
    assert_same_run(net, selector, plain, loop(RECIPES[name], plain))
    ledger = selector.ledger
    assert ledger.samples_backpropagated == sum(map(len, net.trained))
    assert ledger.seconds["training"] > 0
    assert 0 <= ledger.plain_samples <= ledger.samples_backpropagated


@pytest.mark.parametrize("name", UNTOUCHED)
def test_an_untouched_training_step_selects_what_the_plain_loop_does(name):
    net, plain = Net(helped=False), Net()
    assert_same_run(net, fit(RECIPES[name], net), plain, loop(RECIPES[name], plain))


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in UNTOUCHED])
def test_a_method_that_needs_the_losses_says_so_in_the_first_step(name):
    net = Net(helped=False)
    with pytest.raises(
        RuntimeError, match=r"needs the per-sample losses .* loss = weighted_mean\(self, losses\)"
    ):
        fit(RECIPES[name], net)
    assert len(net.trained) == 1


class Everything:
    """A method of one's own at level epoch, which plans all and counts what it is shown."""

    level = "epoch"

    def __init__(self):
        self.shown = 0

    def observe(self, ids, outputs, source):
        self.shown += len(ids)

    def plan(self, epoch):
        return torch.arange(N)

    def choose(self, ids):
        return torch.arange(len(ids)), None

    def state_dict(self):
        return {"shown": self.shown}

    def load_state_dict(self, state):
        self.shown = state["shown"]


def test_so_do_a_method_of_ones_own_and_a_plan_with_weights_that_batches_are_scored_from():
    weighted = sw.Policy(
        signal=sw.signals.loss,
        tracker=sw.trackers.Last(),
        picker=RECIPES["fixed"].picker,
        batch_picker=sw.pickers.TopK(0.5),
        source="training",
    )
    for policy in (Everything(), weighted):
        with pytest.raises(RuntimeError, match="needs the per-sample losses"):
            fit(policy, Net(helped=False))
        net, plain = Net(), Net()
        assert_same_run(net, fit(policy, net), plain, loop(policy, plain))
    assert {len(ids) for ids in net.trained} == {4, 2}


def test_neither_package_is_imported_before_a_callback_is_built_and_a_missing_one_is_named():
    code = """
import sys
from samplewise.integrations.lightning import SelectionCallback
assert not {"lightning", "pytorch_lightning"} & sys.modules.keys()
sys.modules["lightning"] = sys.modules["pytorch_lightning"] = None
try:
    SelectionCallback(None)
except ImportError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == (
        "pytorch_lightning is not installed. Install it with: pip install 'samplewise[lightning]'\n"
    )


def test_remembered_scores_choose_and_the_chosen_rows_are_seen_without_the_helper():
    runs = []
    for net, run in ((Net(helped=False), None), (Net(), loop)):
        selector = select("evolved_sampling", net, scoring=sw.Scoring(every=2))
        torch.manual_seed(3)
        if run is None:
            trainer_for(selector).fit(net, selector.loader())
        else:
            optimizer = net.configure_optimizers()
            loader = selector.loader()
            for _ in range(4):
                for batch in loader:
                    optimizer.zero_grad()
                    selector.loss(batch).backward()
                    optimizer.step()
        runs.append((net.trained, columns(selector)))
    assert repr(runs[0]) == repr(runs[1])


def test_the_other_package_runs_the_same_training():
    net, old = Net(), OldNet()
    selector = fit("evolved_sampling", net)
    assert_same_run(old, fit("evolved_sampling", old, package=pytorch_lightning), net, selector)
    callback = SelectionCallback(selector)
    assert isinstance(callback, lightning.Callback)
    assert isinstance(callback, pytorch_lightning.Callback)
    assert isinstance(callback, SelectionCallback)
    assert callback in lightning.Trainer(callbacks=callback, accelerator="cpu", logger=False).callbacks
    again = pickle.loads(pickle.dumps(SelectionCallback(select("full", Net()))))
    assert type(again) is type(callback)
    assert copy.copy(callback).selector is selector


@pytest.mark.parametrize("name", ["infobatch", "loss_sampling"])
def test_gradients_accumulate_as_in_a_plain_loop(name):
    net, plain = Net(dropout=0.0), Net(dropout=0.0)
    selector = fit(name, net, accumulate_grad_batches=2)
    assert_same_run(net, selector, plain, loop(name, plain, accumulate=2))


class Repeating(Net):
    """LBFGS runs training_step four times and more on each batch."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.05, max_iter=3)


def test_an_optimizer_that_repeats_a_step_does_as_its_closure_in_a_plain_loop():
    net, plain = Repeating(dropout=0.0), Repeating(dropout=0.0)
    selector, reference = fit("importance_sampling", net), select("importance_sampling", plain)
    optimizer = plain.configure_optimizers()

    def closure(batch):
        optimizer.zero_grad()
        loss = reference.loss(batch)
        loss.backward()
        return loss

    for batch in itertools.chain.from_iterable(reference.loader() for _ in range(4)):
        optimizer.step(functools.partial(closure, batch))
    assert_same_run(net, selector, plain, reference)
    assert selector.ledger.ordinary_again == reference.ledger.ordinary_again > 0


def test_under_bf16_every_forward_is_cast_and_losses_are_kept_in_float32():
    casts = []

    class Casting(Net):
        def outputs(self, batch):
            casts.append(torch.is_autocast_enabled("cpu"))
            return super().outputs(batch)

    selector = fit("evolved_sampling", Casting(helped=False), precision="bf16-mixed")
    assert casts
    assert all(casts)
    selector = fit(sw.recipes.ucb(period=1), Casting(), precision="bf16-mixed")
    assert all(casts)
    assert selector.score().dtype == torch.float32
    assert not torch.equal(selector.score(), fit(sw.recipes.ucb(period=1), Net()).score())


# ----------------------------------------------------------------------------------------- epochs


class Lengths(lightning.Callback):
    """Notes what the Trainer thinks of each epoch's length, as a progress bar does."""

    def __init__(self):
        self.said, self.steps = [], []

    def on_train_batch_start(self, trainer, *_):
        self.said.append((trainer.current_epoch, trainer.num_training_batches))

    def on_train_epoch_end(self, trainer, *_):
        self.steps.append(trainer.fit_loop.epoch_loop.batch_progress.current.completed)


@pytest.mark.parametrize("policy", [GROWS, SHRINKS], ids=["growing", "shrinking"])
@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_that_change_length_run_in_full_and_end_with_validation(policy, workers):
    plan = select(policy, Net())
    expected = [-(-len(plan.plan(epoch)) // 8) for epoch in range(4)]
    assert len(set(expected)) == 4
    net, lengths = Validating(), Lengths()
    # Notes after the callback that corrects them.
    selector = select(policy, net)
    trainer = trainer_for(selector)
    trainer.callbacks.append(lengths)
    trainer.fit(net, selector.loader(num_workers=workers), DataLoader(Tensors(8), 8))
    assert selector.ledger.plain_samples == selector.ledger.samples_backpropagated
    assert lengths.steps == expected
    assert lengths.said == [(epoch, steps) for epoch, steps in enumerate(expected) for _ in range(steps)]
    assert net.validated == [0, 0, 1, 2, 3]  # the first is Lightning's sanity check
    assert trainer.limit_train_batches == 1.0


def test_loaders_that_are_asked_for_anew_each_epoch_change_nothing():
    class Own(Net):
        def train_dataloader(self):
            return self.selector.loader()

    net, plain = Own(), Net()
    net.selector = select(GROWS, net)
    torch.manual_seed(3)
    trainer_for(net.selector, reload_dataloaders_every_n_epochs=1).fit(net)
    assert_same_run(net, net.selector, plain, loop(GROWS, plain))


def test_a_training_that_stops_early_closes_its_epoch_and_opens_no_other():
    class Stop(lightning.Callback):
        def on_train_epoch_end(self, trainer, *_):
            trainer.should_stop = trainer.current_epoch == 1

    net = Net()
    selector = fit(sw.recipes.random_dynamic(period=1), net, Stop())
    assert (selector.epoch, len(net.trained)) == (2, 6)
    assert int(selector.table().times_selected.sum()) == sum(map(len, net.trained))


def test_a_schedule_follows_progress():
    class Scheduled(Net):
        def configure_optimizers(self):
            self.rates = []

            def shape(_):
                self.rates.append(self.selector.progress)
                return 1 - self.selector.progress

            optimizer = super().configure_optimizers()
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    net = Scheduled()
    net.selector = select(GROWS, net)
    trainer = trainer_for(net.selector)
    trainer.fit(net, net.selector.loader())
    assert net.rates == sorted(net.rates)
    assert net.rates[-1] == 1.0
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.0


# ------------------------------------------------------------------------------------ user's hooks


@pytest.mark.filterwarnings("ignore:You have overridden .* in `LightningModule`")
def test_the_hooks_of_a_batch_see_the_users_data_and_come_back_as_they_were():
    seen = []

    class Hooked(Net):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            seen.append(("before", type(batch), len(batch[0])))
            return batch

        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            seen.append(("transfer", type(batch), len(batch[0])))
            return super().transfer_batch_to_device(batch, device, dataloader_idx)

    class Halving(lightning.LightningDataModule):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            seen.append(("after", type(batch), len(batch[0])))
            return [batch[0] * self.scale, batch[1]]

        def train_dataloader(self):
            return self.selector.loader()

    net, data = Hooked(), Halving()
    data.selector, data.scale = select("ordered_sgd", net), 1.0
    trainer_for(data.selector).fit(net, datamodule=data)
    assert seen == [(name, list, 8) for name in ("before", "transfer", "after")] * 20
    assert {len(ids) for ids in net.trained} == {2}
    assert not {*vars(net), *vars(data)} & {"on_before_batch_transfer", "on_after_batch_transfer"}
    assert data.selector.forward == net.outputs
    data.selector = select("ucb", net)
    with pytest.raises(
        ValueError, match=r"ucb makes scoring passes.* Hooked.on_before_batch_transfer is not called"
    ):
        trainer_for(data.selector).fit(net, datamodule=data)


def test_a_batch_with_ids_passes_validation_untouched():
    class Looking(Net):
        def validation_step(self, batch, batch_idx):
            assert isinstance(batch, sw.Batch)
            self.validated.append(batch.ids.tolist())

    net, plain = Looking(dropout=0.0), Net(dropout=0.0)
    with_ids = DataLoader(IdDataset(Tensors(8)), 8, collate_fn=IdCollate(None))
    selector = fit("ordered_sgd", net, validation=with_ids)
    assert net.validated == [list(range(8))] * 5
    assert_same_run(net, selector, plain, loop("ordered_sgd", plain))


def test_a_failed_training_leaves_the_module_as_it_was():
    net = Net(helped=False)
    with pytest.raises(RuntimeError, match="weighted_mean"):
        fit("infobatch", net)
    assert "on_after_batch_transfer" not in vars(net)


class Short:
    """A method of one's own that plans 7 samples, which is not known before."""

    level, source = "epoch", "none"

    def plan(self, epoch):
        return torch.arange(7)

    def observe(self, ids, outputs, source):
        raise AssertionError

    choose = load_state_dict = observe

    def state_dict(self):
        return {}


def test_an_error_in_opening_the_first_epoch_is_the_one_that_is_shown():
    net = Net()
    selector = select(Short(), net, epochs=2)
    with pytest.raises(ValueError, match=r"epoch 0 has no batch: 7 samples, batch_size=8, drop_last=True"):
        trainer_for(selector).fit(net, selector.loader(drop_last=True))
    assert "on_after_batch_transfer" not in vars(net)


def test_the_helper_is_the_plain_mean_without_the_callback_and_outside_training():
    net, losses = Net(), torch.tensor([1.0, 2.0, 6.0])
    assert weighted_mean(net, losses) == 3.0
    assert weighted_mean(net, sw.Outputs(losses.bfloat16())).dtype == torch.float32
    assert weighted_mean(net, sw.Outputs(losses, normalizer=torch.tensor([1.0, 0.0, 2.0]))) == 3.0
    assert weighted_mean(net, sw.Outputs(losses, normalizer=torch.tensor([1, 0, 0]))) == 9.0
    with pytest.raises(ValueError, match='reduction="none"'):
        weighted_mean(net, losses.mean())
    lone = Net()
    settings = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    lightning.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **settings).fit(
        lone, DataLoader(Tensors(), 8)
    )
    assert len(lone.trained) == 5


def test_evaluation_leaves_the_selector_alone(tmp_path):
    net = Validating()
    selector = select("infobatch", net)
    trainer = trainer_for(selector)
    with pytest.warns(UserWarning, match="no `val_dataloader`"):
        trainer.fit(net, selector.loader())
    before = repr(columns(selector))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    selector.load_state_dict(select("infobatch", net).state_dict())
    trainer.validate(net, DataLoader(Tensors(), 8), ckpt_path=tmp_path / "end.ckpt", verbose=False)
    assert selector.epoch == 0
    assert before != repr(columns(selector))


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_epochs": 3}, "max_epochs=...) must equal the Selector's epochs=4, got 3"),
        ({"max_epochs": -1}, "must equal the Selector's epochs=4, got -1"),
        ({"max_steps": 7}, "max_steps=7) may end training within an epoch"),
        ({"limit_train_batches": 0.5}, "limit_train_batches=0.5) would drop batches"),
        ({"limit_train_batches": 1}, "limit_train_batches=1) would drop batches"),
        ({"overfit_batches": 2}, "overfit_batches=2) would drop batches"),
        ({"fast_dev_run": True}, "fast_dev_run=True) ends training early"),
        ({"devices": 2, "strategy": "ddp_fork"}, "Set Trainer(use_distributed_sampler=False)"),
    ],
)
def test_settings_that_would_turn_selection_off_are_refused(settings, said):
    net = Net()
    error = torch.multiprocessing.ProcessRaisedException if "strategy" in settings else ValueError
    with pytest.raises(error, match=re.escape(said)):
        fit("full", net, **settings)
    assert not net.trained


def test_a_loader_without_ids_is_refused():
    net = Net()
    selector = select("full", net)
    for loader in (DataLoader(Tensors(), 8), {"a": selector.loader()}, select("full", net).loader()):
        with pytest.raises(ValueError, match=r"the train loader must be selector.loader\(...\)"):
            trainer_for(selector).fit(net, loader)


@pytest.mark.filterwarnings("ignore:.*`dataloader_iter`")
def test_a_step_that_fetches_batches_itself_is_refused():
    class Fetching(Net):
        def training_step(self, dataloader_iter):
            batch, *_ = next(dataloader_iter)
            return self.outputs(batch.data).loss.mean()

    with pytest.raises(RuntimeError, match="without ids"):
        fit("loss_sampling", Fetching())


def test_two_selections_in_one_trainer_and_what_is_no_selector_are_refused():
    with pytest.raises(TypeError, match="takes a Selector, got str"):
        SelectionCallback("infobatch")
    selector = select("full", Net())
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `SelectionCallback`"):
        trainer_for(selector, SelectionCallback(selector))
