"""The Trainer's steps, schedules and checkpoints, where epochs differ in length."""

import math

import pytest
import torch
from transformers import TrainerCallback

import samplewise as sw
from samplewise.integrations.transformers import latest_complete_checkpoint
from tests.integrations.trainer_runs import (
    BATCH,
    N,
    Plans,
    SaveAt,
    bert,
    classes,
    selective,
    trained_ids,
    weights,
)

pytestmark = pytest.mark.usefixtures("quick_training")


def updates(length, accumulate):
    return math.ceil(math.ceil(length / BATCH) / accumulate)


class Rates(TrainerCallback):
    """The learning rate after every optimizer step, and where the training said it was."""

    def __init__(self):
        self.rates, self.epochs = [], []

    def on_step_end(self, args, state, control, **kwargs):
        self.rates.append(kwargs["lr_scheduler"].get_last_lr()[0])

    def on_log(self, args, state, control, **kwargs):
        self.epochs.append(state.epoch)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("lengths", [(26, 15, 9), (9, 15, 26)], ids=["shrinks", "grows"])
def test_every_epoch_runs_in_full_and_the_schedule_ends_with_the_training(lengths, accumulate, tmp_path):
    trainer = selective(
        tmp_path,
        Plans(*lengths),
        lr_scheduler_type="linear",
        gradient_accumulation_steps=accumulate,
        logging_strategy="epoch",
    )
    rates = Rates()
    trainer.add_callback(rates)
    noted = trained_ids(trainer)
    each = [updates(length, accumulate) for length in lengths]
    assert sum(map(len, noted)) == sum(lengths)
    assert trainer.state.global_step == trainer.state.max_steps == sum(each)
    expected = [
        0.1 * (1 - (epoch + step / count) / 3)
        for epoch, count in enumerate(each)
        for step in range(1, count + 1)
    ]
    assert rates.rates == pytest.approx(expected, abs=1e-12)
    assert rates.epochs[:3] == [1.0, 2.0, 3.0]
    assert trainer.state.epoch == trainer.state.num_train_epochs == 3
    assert trainer.selector.epoch == 3


def test_warm_up_counts_steps_of_ordinary_training(tmp_path):
    trainer = selective(tmp_path, Plans(13, 26, 26), lr_scheduler_type="linear", warmup_steps=7)
    rates = Rates()
    trainer.add_callback(rates)
    trainer.train()
    whole, half = updates(26, 1), updates(13, 1)
    assert rates.rates[:half] == pytest.approx([0.1 * step / half for step in range(1, half + 1)])
    assert rates.rates[half] == pytest.approx(0.1 * (1 - 1 / (2 * whole)))


def test_a_part_of_an_epoch_is_a_part_of_its_plan(tmp_path):
    trainer = selective(tmp_path, Plans(26, 13, 13), num_train_epochs=2.5, lr_scheduler_type="linear")
    trainer.train()
    assert trainer.state.global_step == updates(26, 1) + updates(13, 1) + math.ceil(0.5 * updates(13, 1))
    assert trainer.lr_scheduler.get_last_lr() == [pytest.approx(0, abs=1e-12)] * 2


def test_max_steps_stops_there(tmp_path):
    trainer = selective(
        tmp_path, Plans(13, 13, 13), max_steps=9, lr_scheduler_type="linear", settings={"epochs": 3}
    )
    trainer.train()
    assert trainer.state.global_step == trainer.state.max_steps == 9
    assert trainer.lr_scheduler.get_last_lr()[0] == pytest.approx(0, abs=1e-12)


def test_epochs_that_end_before_max_steps_are_said(tmp_path):
    trainer = selective(tmp_path, Plans(13, 13), max_steps=14, lr_scheduler_type="linear")
    with pytest.warns(UserWarning, match=r"2 planned epochs end after 8 steps, before max_steps=14"):
        trainer.train()
    assert trainer.state.global_step == 8
    assert trainer.lr_scheduler.get_last_lr()[0] == pytest.approx(0, abs=1e-12)


def test_kakurenbo_raises_the_learning_rate_while_it_hides(tmp_path):
    trainer = selective(tmp_path, sw.recipes.kakurenbo(keep=0.5), num_train_epochs=4)
    rates = []

    class Begun(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            rates.append((trainer.selector.epoch, kwargs["optimizer"].param_groups[0]["lr"]))

    trainer.add_callback(Begun())
    trainer.train()
    factors = {epoch: rate / 0.1 for epoch, rate in rates}
    alone = sw.Selector(sw.recipes.kakurenbo(keep=0.5), N, epochs=4)
    assert factors == {epoch: pytest.approx(alone.lr_factor(epoch)) for epoch in range(4)}
    assert max(factors.values()) > 1.1
    assert all(rate == pytest.approx(0.1 * factors[epoch]) for epoch, rate in rates)


@pytest.mark.parametrize(
    ("recipe", "accumulate", "workers", "inside"),
    [("eswp", 1, 0, 8), ("eswp", 2, 2, 5), ("infobatch", 2, 0, 5), ("ucb", 1, 0, 6)],
)
def test_a_resumed_run_ends_as_the_uninterrupted_one(recipe, accumulate, workers, inside, tmp_path):
    def trainer(folder, *callbacks, **given):
        usual = {"lr_scheduler_type": "cosine", "optim": "adamw_torch", "learning_rate": 1e-2}
        steps = {"gradient_accumulation_steps": accumulate, "num_train_epochs": 4}
        usual |= {"model": bert(dropout=0.2), "dataloader_num_workers": workers}
        return selective(folder, recipe, extra={"callbacks": list(callbacks)}, **usual, **steps, **given)

    whole = trainer(tmp_path / "whole", SaveAt(inside), save_strategy="epoch")
    noted = trained_ids(whole)
    steps = whole.state.global_step
    saved = sorted(int(folder.name.partition("-")[2]) for folder in (tmp_path / "whole").iterdir())
    assert len(saved) == 4 + 1
    # At the end of the first epoch, inside the second, at the end of the last but one, and when all is done.
    for step in (inside,) if workers else (saved[0], inside, saved[-2]):
        resumed = trainer(tmp_path / f"resumed-{step}")
        rest = trained_ids(resumed, resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert rest == noted[len(noted) - len(rest) :]
        assert 0 < len(rest) < len(noted)
        assert torch.equal(weights(resumed), weights(whole))
        assert resumed.state.global_step == steps
        assert resumed.state.epoch == 4
        assert resumed.lr_scheduler.get_last_lr() == whole.lr_scheduler.get_last_lr()
        assert str(resumed.selector.score()) == str(whole.selector.score())
    done = trainer(tmp_path / "done")
    assert trained_ids(done, resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{steps}")) == []
    assert done.selector.epoch == 4


def test_true_resumes_from_the_last_complete_checkpoint(tmp_path):
    given = {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 2}
    whole = selective(tmp_path, "infobatch", **given)
    whole.train()
    newest = latest_complete_checkpoint(tmp_path)
    assert newest == str(tmp_path / f"checkpoint-{whole.state.global_step}")
    (tmp_path / newest / "samplewise.safetensors").unlink()
    before = latest_complete_checkpoint(tmp_path)
    again = selective(tmp_path, "infobatch", **given)
    with pytest.warns(UserWarning, match=f"{newest} is incomplete, so training resumes from {before}"):
        again.train(resume_from_checkpoint=True)
    assert torch.equal(weights(again), weights(whole))
    assert latest_complete_checkpoint(tmp_path) == newest
    assert latest_complete_checkpoint(tmp_path / "nothing") is None
    with pytest.raises(ValueError, match="must hold a complete checkpoint"):
        selective(tmp_path / "nothing", "infobatch").train(resume_from_checkpoint=True)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    selective(folder, "infobatch", save_strategy="steps", save_steps=5, num_train_epochs=2).train()
    return folder


@pytest.fixture
def torn(checkpoints, tmp_path):
    """A checkpoint to be damaged, beside a whole one."""
    for number in (5, 10):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        for file in (checkpoints / f"checkpoint-{number}").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    return tmp_path / "checkpoint-10"


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        (
            "samplewise.safetensors",
            None,
            "it has no samplewise.safetensors, so it is incomplete",
        ),
        ("samplewise.safetensors", 100, "samplewise.safetensors is damaged"),
        ("model.safetensors", 100, "its model.safetensors has 100 bytes instead of"),
        ("optimizer.pt", None, "its optimizer.pt is missing"),
    ],
)
def test_a_torn_checkpoint_is_refused_and_the_last_whole_one_named(name, size, why, torn, tmp_path):
    content = (torn / name).read_bytes()
    (torn / name).unlink()
    if size is not None:
        (torn / name).write_bytes(content[:size])
    trainer = selective(tmp_path, "infobatch", num_train_epochs=2)
    before = weights(trainer)
    with pytest.raises(ValueError, match=why) as refused:
        trainer.train(resume_from_checkpoint=str(torn))
    assert f"Use the last complete one: {tmp_path / 'checkpoint-5'}" in str(refused.value)
    assert torch.equal(weights(trainer), before)


@pytest.mark.parametrize(
    ("recipe", "given", "why"),
    [
        ("ucb", {}, r"the state is of policy=recipes.infobatch\("),
        (sw.recipes.infobatch(keep=0.75), {}, r"the state is of policy=recipes.infobatch\("),
        ("infobatch", {"data": classes(N + 1)}, f"the state is of n={N}, but this Selector has n={N + 1}"),
        ("infobatch", {"seed": 3}, "the state is of seed=42, but this Selector has seed=3"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(recipe, given, why, checkpoints, tmp_path):
    trainer = selective(tmp_path, recipe, num_train_epochs=2, **given)
    with pytest.raises(ValueError, match=why):
        trainer.train(resume_from_checkpoint=str(checkpoints / "checkpoint-5"))


def test_a_checkpoint_that_is_written_over_is_not_complete_meanwhile(checkpoints, tmp_path, monkeypatch):
    trainer = selective(tmp_path, "infobatch", num_train_epochs=2, save_strategy="steps", save_steps=5)
    trainer.train()
    assert latest_complete_checkpoint(tmp_path) is not None

    def stopped(*args, **kwargs):
        raise RuntimeError("stopped")

    monkeypatch.setattr("transformers.trainer_callback.TrainerState.save_to_json", stopped)
    with pytest.raises(RuntimeError, match="stopped"):
        trainer.train()
    with pytest.raises(
        ValueError, match=r"checkpoint-5 cannot be resumed: it has no samplewise\.safetensors"
    ):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))


def test_training_again_begins_with_a_new_selector(tmp_path):
    trainer = selective(tmp_path, "infobatch")
    first = trained_ids(trainer)
    ledger = trainer.selector.ledger
    trainer.model = trainer.model_wrapped = bert()
    trainer.optimizer = None
    again = trained_ids(trainer)
    assert again[: len(first)] == first
    assert trainer.selector.ledger is not ledger
    assert trainer.selector.epoch == 3
    assert not trainer.args.ignore_data_skip


def test_save_total_limit_1_is_warned_of(tmp_path):
    trainer = selective(tmp_path, "full", num_train_epochs=1, save_total_limit=1)
    with pytest.warns(UserWarning, match="with save_total_limit=1 there is no complete checkpoint"):
        trainer.train()


def test_a_changed_byte_in_the_selectors_file_is_refused(tmp_path):
    trainer = selective(tmp_path, "infobatch", save_strategy="steps", save_steps=3)
    trainer.train()
    older, newer = tmp_path / "checkpoint-6", tmp_path / "checkpoint-9"
    file = newer / "samplewise.safetensors"
    whole = file.read_bytes()
    for place in (-1, -9, len(whole) // 2):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0x40
        file.write_bytes(spoilt)
        again = selective(tmp_path, "infobatch")
        with pytest.raises(
            ValueError, match=r"checkpoint-9 cannot be resumed: samplewise\.safetensors is damaged"
        ):
            again.train(resume_from_checkpoint=str(newer))
        assert str(newer) != latest_complete_checkpoint(tmp_path)
    file.write_bytes(whole)
    assert older.exists()
