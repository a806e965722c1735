"""Packed rows on two processes: the steps of one process that accumulates two batches, also when resumed."""

import gc

import pytest

import samplewise as sw
from samplewise.integrations.transformers import make_selective
from tests.integrations.accelerate_runs import on_two
from tests.integrations.test_trl import N, built, llama, pytestmark, quick_training, read_tokenizer
from tests.integrations.trainer_runs import SaveAt, trained_ids, weights

__all__ = ["pytestmark", "quick_training"]

RECIPES = {
    "weights": sw.recipes.infobatch(),
    "rows": sw.recipes.ordered_sgd(keep=0.5),
    "tokens": sw.recipes.token_topk(keep=0.5),
}
EPOCHS, SAVED = 2, 4
"""A full epoch has 5 batches, so 3 steps. In the last of them the second process has no batch of its own."""


def run(recipe, folder, accumulate=1, saves=False, tokens=30, **how):
    trainer = built(
        folder,
        read_tokenizer(),
        packing=True,
        max_length=tokens,
        per_device_train_batch_size=1,
        num_train_epochs=EPOCHS,
        gradient_accumulation_steps=accumulate,
        extra={"callbacks": [SaveAt(SAVED)] * saves},
    )
    trainer = make_selective(trainer, recipe)
    noted = trained_ids(trainer, **how)
    ledger = trainer.selector.ledger
    return {
        "ids": noted,
        "weights": weights(trainer.accelerator.unwrap_model(trainer.model)).tolist(),
        "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
        "steps": (trainer.state.global_step, trainer.state.max_steps, trainer.state.epoch),
        "counts": [ledger.samples_backpropagated, ledger.ordinary_samples, ledger.tokens],
        "progress": trainer.selector.progress,
        "memory": {name: column.tolist() for name, column in trainer.selector.engine.memory.columns.items()},
    }


def two(folder):
    """All that one process of two does."""
    gc.freeze()  # as `quick_training`
    told = {name: run(recipe, f"{folder}/{name}", saves=True) for name, recipe in RECIPES.items()}
    told["whole"] = run("loss_sampling", f"{folder}/whole", saves=True)
    saved = f"{folder}/whole/checkpoint-{SAVED}"
    told["resumed"] = run("loss_sampling", f"{folder}/resumed", resume_from_checkpoint=saved)
    told["one batch"] = run(RECIPES["rows"], f"{folder}/one-batch", tokens=200)
    gc.collect()  # wrapped models in cycles keep threads of gloo, which abort the process at its end
    return told


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def both(folder):
    """What both processes tell."""
    return on_two(two, folder)


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_take_the_batches_of_one_in_turns(name, both, tmp_path):
    first, second = (told[name] for told in both)
    alone = run(RECIPES[name], tmp_path, accumulate=2)
    assert first["weights"] == second["weights"] == pytest.approx(alone["weights"], rel=0, abs=1e-6)
    assert alone["weights"] != pytest.approx(weights(llama(read_tokenizer())).tolist(), rel=0, abs=1e-4)
    assert first["losses"] == second["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert first["steps"] == second["steps"] == alone["steps"]
    left, more = [*alone["ids"]], 0
    for mine, yours in zip(first["ids"], second["ids"], strict=True):
        assert left.pop(0) == mine
        if left and left[0] == yours:
            left.pop(0)
        else:  # rows that Accelerate adds, so that both have a batch. They count nowhere.
            more += 1
    assert not left
    assert 0 < more <= EPOCHS
    assert [sum(pair) for pair in zip(first["counts"], second["counts"], strict=True)] == alone["counts"]
    assert alone["counts"][1] == EPOCHS * N
    assert alone["progress"] == first["progress"] == 1


def test_a_run_resumed_inside_an_epoch_is_the_uninterrupted_one(both):
    for told, real in zip(both, (2, 1), strict=True):
        whole, resumed = told["whole"], told["resumed"]
        assert len(whole["ids"]) == 2 * 3
        assert resumed["ids"][:real] == whole["ids"][SAVED:][:real]
        assert resumed["weights"] == whole["weights"]
        assert resumed["steps"] == whole["steps"]


def test_one_process_goes_on_with_what_two_saved(both, folder):
    saved = f"{folder}/rows/checkpoint-{SAVED}"
    alone = run(RECIPES["rows"], folder / "one", 2, resume_from_checkpoint=saved)
    first, second = (told["rows"] for told in both)
    assert alone["ids"] == [first["ids"][4], second["ids"][4], first["ids"][5]]
    assert alone["weights"] == pytest.approx(first["weights"], rel=0, abs=1e-6)
    assert alone["steps"] == first["steps"]


def test_a_process_without_a_batch_of_its_own_has_the_memory_of_the_other(both, tmp_path):
    first, second = (told["one batch"] for told in both)
    alone = run(RECIPES["rows"], tmp_path, tokens=200, accumulate=2)
    assert first["ids"] == alone["ids"]
    assert first["weights"] == second["weights"] == pytest.approx(alone["weights"], rel=0, abs=1e-6)
    assert first["counts"] == alone["counts"]
    assert second["counts"] == [0, 0, 0]
    assert alone["memory"]
    for name, column in alone["memory"].items():
        assert first["memory"][name] == second["memory"][name] == pytest.approx(column, rel=1e-4)
